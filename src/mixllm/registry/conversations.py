"""Which LLM a conversation was with, and how much of it that LLM's provider may still have in its cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from mixllm.errors import InvalidValueError
from mixllm.interfaces import Clock

__all__ = ["Conversations", "Turn"]


class Turn(NamedTuple):
    """The newest turn of a conversation.

    Parameters
    ----------
    llm
        The LLM that answered it.
    tokens
        Tokens of its prompt.
    at_s
        When it was answered, on the monotonic clock.
    """

    llm: str
    tokens: int
    at_s: float


class Conversations:
    """Remembers the newest turns by their keys, which are hashes: no word of a conversation is kept; thread-safe.

    Parameters
    ----------
    clock
        Time.
    max_tracked
        Most turns that are remembered; those that were not used for longest are forgotten first.

    Examples
    --------
    >>> from mixllm.clock import ManualClock
    >>> conversations = Conversations(clock=ManualClock(), max_tracked=2)
    >>> conversations.remember(b"first", llm="large", tokens=2000)
    >>> conversations.find([b"second", b"first"])
    Turn(llm='large', tokens=2000, at_s=0.0)
    """

    def __init__(self, *, clock: Clock, max_tracked: int = 100_000) -> None:
        if max_tracked < 1:
            raise InvalidValueError("max_tracked", max_tracked, ">= 1")
        self.clock = clock
        self.max_tracked = max_tracked
        self._lock = threading.Lock()
        self._turns: OrderedDict[bytes, Turn] = OrderedDict()

    def __len__(self) -> int:
        return len(self._turns)

    def find(self, keys: Iterable[bytes]) -> Turn | None:
        """Return the turn of the first of `keys` that is known; None where none is."""
        with self._lock:
            for key in keys:
                turn = self._turns.get(key)
                if turn is not None:
                    self._turns.move_to_end(key)
                    return turn
        return None

    def remember(self, key: bytes, *, llm: str, tokens: int) -> None:
        """Keep that `llm` has just answered a prompt of `tokens` tokens."""
        turn = Turn(llm=llm, tokens=tokens, at_s=self.clock.monotonic_s())
        with self._lock:
            self._turns[key] = turn
            self._turns.move_to_end(key)
            if len(self._turns) > self.max_tracked:
                self._turns.popitem(last=False)
