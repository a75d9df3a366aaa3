"""What is observed of calls beyond their facts: implicit signals, and answers for the judge."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mixllm.errors import UpstreamError
from mixllm.gateway.answers import is_of_the_request
from mixllm.gateway.judge import Judge, Sample
from mixllm.gateway.requests import ChatRequest
from mixllm.gateway.said import Said
from mixllm.gateway.signals import Signals
from mixllm.gateway.usage import Usage
from mixllm.types import Capability, Decision

__all__ = ["Watch", "WatchedCall"]

_BEYOND_TEXT = frozenset({Capability.VISION, Capability.AUDIO})
_LENGTH = "length"
_FILTER = "content_filter"


class Watch:
    """Observes the calls of one gateway; there is none where neither signals nor a judge are wanted.

    Parameters
    ----------
    signals
        Which events of the traffic count.
    judge
        Judges a share of the answers; None: there is none.
    """

    def __init__(self, *, signals: Signals, judge: Judge | None = None) -> None:
        self.signals = signals
        self.judge = judge

    def begin(self, chat: ChatRequest, decision: Decision, *, asker: str) -> WatchedCall:
        """Observe a call from its decision on; `asker` is who asks (see `conversation_print`)."""
        return WatchedCall(
            watch=self,
            chat=chat,
            decision=decision,
            conversation=self.signals.asked(chat, decision, asker=asker),
            sampled=self.judge is not None and not chat.query.needs & _BEYOND_TEXT and self.judge.draws(),
        )


class WatchedCall:
    """One call: what its answer says is read as it passes by, and only as far as somebody wants to know.

    Parameters
    ----------
    watch
        Who wants to know.
    chat, decision
        The request, and what was decided on it.
    conversation
        Print of the conversation; None where regenerates do not count.
    sampled
        Whether the answer is to be judged.
    """

    __slots__ = ("_chat", "_conversation", "_decision", "_judge", "_said", "_signals")

    def __init__(
        self, *, watch: Watch, chat: ChatRequest, decision: Decision, conversation: bytes | None, sampled: bool
    ) -> None:
        self._signals = watch.signals
        self._judge = watch.judge if sampled else None
        self._chat = chat
        self._decision = decision
        self._conversation = conversation
        self._said: Said | None = None
        if self._judge is not None:
            self._said = Said(max_chars=self._judge.config.max_answer_chars)
        elif not self._signals.wanted.isdisjoint({"empty", "cut"}):
            self._said = Said()

    def read_body(self, body: bytes) -> None:
        """Read a whole answer."""
        if self._said is not None:
            self._said.read_body(body)

    def read_choices(self, choices: Sequence[msgspec.Raw]) -> None:
        """Read the choices of a streamed chunk."""
        if self._said is not None:
            self._said.read_choices(choices)

    def failed(self, error: UpstreamError) -> None:
        """Note that the LLM failed; what the request itself brought about says nothing of the LLM."""
        if not is_of_the_request(error):
            self._signals.emit(self._decision, "error")

    def answered(self, usage: Usage | None) -> None:
        """Note that the whole answer has been read and recorded."""
        said = self._said
        faulty = said is not None and self._has_faults(said, usage)
        if self._conversation is not None and not faulty:
            # One fault, one thumb: whoever asks again after half an answer would be counted twice.
            self._signals.answered(self._conversation, self._decision)
        if said is not None and self._judge is not None:
            self._submit(self._judge, said, usage)

    def _has_faults(self, said: Said, usage: Usage | None) -> bool:
        faulty = said.empty and self._signals.emit(self._decision, "empty")
        cut = _FILTER in said.finish_reasons or (_LENGTH in said.finish_reasons and not self._limited(said, usage))
        return (cut and self._signals.emit(self._decision, "cut")) or faulty

    def _limited(self, said: Said, usage: Usage | None) -> bool:
        """Return whether the answer ended at the client's own limit, or may have."""
        limit = self._chat.query.max_tokens_out
        if _LENGTH not in said.finish_reasons or limit is None:
            return False
        tokens_out = None if usage is None else usage.completion_tokens
        return tokens_out is None or tokens_out >= limit

    def _submit(self, judge: Judge, said: Said, usage: Usage | None) -> None:
        question, answer = self._chat.query.text, said.text()
        if said.calls_tools or not (question.strip() and answer.strip()) or self._limited(said, usage):
            return  # Nothing to judge, or nothing that the LLM is to blame for.
        judge.submit(
            Sample(
                decision_id=self._decision.decision_id,
                key_id=self._decision.key_id,
                question=question,
                answer=answer,
                shortened=said.shortened,
            )
        )
