"""Conversations that were answered a moment ago, known by a keyed hash alone: the same one again is a regenerate."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from typing import NamedTuple

from mixllm.gateway.requests import ChatRequest
from mixllm.interfaces import Clock
from mixllm.units import positive

__all__ = ["Answered", "Regenerations", "conversation_print"]

_PRINT_BYTES = 16


class Answered(NamedTuple):
    """An answer that was given.

    Parameters
    ----------
    decision_id
        The decision that led to it.
    at_s
        When it was complete, on a monotonic clock.
    """

    decision_id: str
    at_s: float


def conversation_print(chat: ChatRequest, *, asker: str, salt: bytes) -> bytes | None:
    """Return what stands for one asker's conversation, and tells nobody of either; None where it is no ask.

    Two requests have the same print where the same asker sends the same messages, byte for byte; the LLM that they
    name, their parameters and whether they stream do not count.

    Parameters
    ----------
    chat
        The request.
    asker
        Who asks: an API key's name or an address. The request's ``user`` field, where there is one, tells apart those
        that share it.
    salt
        Key of the hash.

    Returns
    -------
    bytes or None
        16 bytes; None where the last message is nobody's ask: an agent that goes on, or prefills an answer.
    """
    if not chat.ends_with_user:
        return None
    digest = hmac.new(salt, digestmod="sha256")
    for part in (asker.encode("utf-8", "surrogatepass"), bytes(chat.fields.get("user", b""))):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    digest.update(chat.fields["messages"])
    return digest.digest()[:_PRINT_BYTES]


class Regenerations:
    """Remembers the newest answers, for one event loop.

    Parameters
    ----------
    window_s
        How long after an answer the same conversation counts as asked again.
    max_tracked
        Most answers that are remembered; the oldest ones are forgotten first.
    clock
        Time.

    Examples
    --------
    >>> from mixllm.clock import ManualClock
    >>> clock = ManualClock()
    >>> answers = Regenerations(window_s=60.0, max_tracked=100, clock=clock)
    >>> answers.answered(b"print", "decision-1")
    >>> clock.advance(30.0)
    >>> answers.asked_again(b"print"), answers.asked_again(b"print")
    ('decision-1', None)
    """

    def __init__(self, *, window_s: float, max_tracked: int, clock: Clock) -> None:
        self.window_s = positive("window_s", window_s)
        self.max_tracked = int(positive("max_tracked", max_tracked))
        self.clock = clock
        self._answers: OrderedDict[bytes, Answered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def asked_again(self, conversation: bytes) -> str | None:
        """Return the decision whose answer is asked for again, once; None where there is none in the window."""
        self._forget_old()
        known = self._answers.pop(conversation, None)
        return None if known is None else known.decision_id

    def answered(self, conversation: bytes, decision_id: str) -> None:
        """Remember that a conversation was answered now."""
        self._forget_old()
        # Popped first, so that the order stays that of time.
        self._answers.pop(conversation, None)
        self._answers[conversation] = Answered(decision_id, self.clock.monotonic_s())
        if len(self._answers) > self.max_tracked:
            self._answers.popitem(last=False)

    def _forget_old(self) -> None:
        oldest_s = self.clock.monotonic_s() - self.window_s
        while self._answers and next(iter(self._answers.values())).at_s < oldest_s:
            self._answers.popitem(last=False)
