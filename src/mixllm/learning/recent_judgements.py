"""The last judgements, so that several of one answer can be compared."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import StateError

__all__ = ["RecentJudgements"]

_MAX_JUDGEMENTS = 1024


class RecentJudgements:
    """Which source said what of which answer, for the last 1,024 judgements.

    Examples
    --------
    >>> recent = RecentJudgements()
    >>> recent.add("d1", "refined/judge", 0.75)
    >>> recent.by_others("d1", "binary/user"), recent.by_others("d1", "refined/judge")
    ([('refined/judge', 0.75)], [])
    """

    def __init__(self) -> None:
        self._queue: deque[tuple[str, str, float]] = deque()
        self._of: dict[str, list[tuple[str, float]]] = {}

    def add(self, decision_id: str, source: str, value: float) -> None:
        """Remember a judgement, and forget the oldest where there are too many."""
        self._append(_name(decision_id), source, value)

    def by_others(self, decision_id: str, source: str) -> list[tuple[str, float]]:
        """Return what other sources than `source` said of an answer."""
        return [(name, value) for name, value in self._of.get(_name(decision_id), ()) if name != source]

    def merge(self, other: Self) -> None:
        """Add what `other` remembers, as newer."""
        for answer, source, value in list(other._queue):
            self._append(answer, source, value)

    def state(self) -> tuple[NDArray[np.float64], tuple[str, ...], tuple[str, ...]]:
        """Return the values, shape (n,), the answers and the sources, oldest first."""
        answers, sources, values = zip(*self._queue, strict=True) if self._queue else ((), (), ())
        return np.array(values, np.float64), tuple(answers), tuple(sources)

    def load_state(self, values: NDArray[np.float64], answers: Sequence[str], sources: Sequence[str]) -> None:
        """Replace the state; raises `StateError` where it is damaged, and leaves it as it was."""
        if not (values.shape == (len(answers),) and len(answers) == len(sources) and (np.abs(values) <= 1).all()):
            raise StateError("The state of the recent judgements is damaged. Load another checkpoint.")
        self._queue, self._of = deque(), {}
        for answer, source, value in zip(answers, sources, values.tolist(), strict=True):
            self._append(answer, source, value)

    def _append(self, answer: str, source: str, value: float) -> None:
        self._queue.append((answer, source, value))
        self._of.setdefault(answer, []).append((source, value))
        if len(self._queue) > _MAX_JUDGEMENTS:
            oldest, *_ = self._queue.popleft()
            judgements = self._of[oldest]
            judgements.pop(0)
            if not judgements:
                del self._of[oldest]


def _name(decision_id: str) -> str:
    # What is saved tells nobody which decisions there were.
    return hashlib.blake2b(decision_id.encode(), digest_size=8).hexdigest()
