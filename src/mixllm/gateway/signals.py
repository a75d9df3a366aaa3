"""Implicit signals: what the traffic itself tells of an answer, as thumbs down of a source of its own."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from concurrent.futures import Future

from mixllm.clock import SystemClock
from mixllm.config import ImplicitSignal, SignalsConfig
from mixllm.errors import MixLLMError
from mixllm.gateway.regenerations import Regenerations, conversation_print
from mixllm.gateway.requests import ChatRequest
from mixllm.interfaces import Clock
from mixllm.router import RouterCore
from mixllm.types import IMPLICIT_SOURCES, Decision, FeedbackReceipt

__all__ = ["Signals"]


class Signals:
    """Sends thumbs down for what the configuration counts as one; it never fails a request.

    Each has the source ``implicit:<signal>``, so that it never stands for, or against the id of, what a person said,
    and so that learning can tell how far each source is to be trusted.

    Parameters
    ----------
    router
        Who is told.
    config
        Which signals count.
    clock
        Time; None takes the system's.
    salt
        Key of the conversations' hashes; None draws one, which no other process knows.
    """

    def __init__(
        self, *, router: RouterCore, config: SignalsConfig, clock: Clock | None = None, salt: bytes | None = None
    ) -> None:
        self.router = router
        self.wanted: frozenset[ImplicitSignal] = frozenset(config.implicit)
        self.regenerations = Regenerations(
            window_s=config.regenerate_window_s, max_tracked=config.max_tracked, clock=clock or SystemClock()
        )
        self._salt = secrets.token_bytes(32) if salt is None else salt
        self._counts: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()

    def asked(self, chat: ChatRequest, decision: Decision, *, asker: str) -> bytes | None:
        """Look whether `chat` asks for an earlier answer again; return its print for `answered`, None where not wanted.

        Parameters
        ----------
        chat
            The request.
        decision
            What was decided on it.
        asker
            Who asks (see `conversation_print`).
        """
        if "regenerate" not in self.wanted:
            return None
        conversation = conversation_print(chat, asker=asker, salt=self._salt)
        if conversation is None:
            return None
        earlier = self.regenerations.asked_again(conversation)
        if earlier is not None:
            # Whoever asks now is who asked then: the print says so.
            self._emit(earlier, "regenerate", key_id=decision.key_id)
        return conversation

    def answered(self, conversation: bytes, decision: Decision) -> None:
        """Remember an answer, in case that it is asked for again."""
        self.regenerations.answered(conversation, decision.decision_id)

    def emit(self, decision: Decision, signal: ImplicitSignal) -> bool:
        """Send thumbs down for `decision` where `signal` counts; return whether it does."""
        if signal not in self.wanted:
            return False
        self._emit(decision.decision_id, signal, key_id=decision.key_id)
        return True

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many signals of each kind were ``kept``, or ``lost`` because the store could not take them."""
        with self._counting:
            return dict(self._counts)

    def _emit(self, decision_id: str, signal: ImplicitSignal, *, key_id: str) -> None:
        source = f"{IMPLICIT_SOURCES}{signal}"
        try:
            kept = self.router.submit_feedback(decision_id, thumbs=False, source=source, key_id=key_id)
        except MixLLMError:
            self._count(signal, "lost")
            return
        kept.add_done_callback(lambda future: self._count(signal, _result(future)))

    def _count(self, signal: str, result: str) -> None:
        # Called on the event loop and on the store's thread.
        with self._counting:
            self._counts[signal, result] += 1


def _result(future: Future[FeedbackReceipt]) -> str:
    return "lost" if future.cancelled() or future.exception() is not None else "kept"
