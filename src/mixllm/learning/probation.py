"""Whether an LLM that fell has healed: now and then it is expected again to be what it was, and shows it or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import StateError

__all__ = ["Probation"]

_FIRST_WAIT = 500.0
_LONGEST_WAIT = 16_000.0
"""Judged answers of the whole pool until the first, and at most until the next look."""

_MEASURED = 100.0
"""So many judgements since the fall or the last look tell how good it is now: no further look is needed."""

_WEIGHT = 30.0
"""Judgements that a look's expectation is worth; as many new ones outweigh it."""

_SUMS = ("gram", "moment", "sums")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probation:
    """An LLM after a fall of its quality.

    Parameters
    ----------
    before
        Sums of what was learned of it before the fall, worth 30 judgements at most.
    wait
        Judged answers of the pool between the last look (or the fall) and the next.
    due
        How many of them are still to come.
    judged
        Weight of the judgements of this LLM since then.
    """

    before: Mapping[str, NDArray[np.float64]]
    wait: float = _FIRST_WAIT
    due: float = _FIRST_WAIT
    judged: float = 0.0

    @classmethod
    def after_fall(cls, learned: Mapping[str, NDArray[np.float64]], since: Mapping[str, NDArray[np.float64]]) -> Self:
        """Begin, where `learned` are the sums of everything and `since` those of the judgements since the fall."""
        earlier = {name: learned[name] - since[name] for name in _SUMS}
        earlier["sums"] = np.maximum(earlier["sums"], 0.0)
        weight = float(earlier["sums"][1])
        share = min(1.0, _WEIGHT / weight) if weight > 0 else 0.0
        return cls(before={name: share * array for name, array in earlier.items()})

    @property
    def over(self) -> bool:
        """Whether its present quality has been measured."""
        return self.judged >= _MEASURED

    def answered(self, *, judged: float) -> Self:
        """Return the probation after one more judged answer of the pool, of which `judged` is weight of its own."""
        return replace(self, due=self.due - 1.0, judged=self.judged + judged)

    def longer(self) -> Self:
        """Return the probation with the next look twice as far away, after a look or another fall."""
        wait = min(2.0 * self.wait, _LONGEST_WAIT)
        return replace(self, wait=wait, due=wait, judged=0.0)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return everything, ready to be saved."""
        return {**self.before, "counts": np.array([self.wait, self.due, self.judged])}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.float64]], *, dimension: int) -> Self:
        """Return what `state` gave; raises `StateError` where it is damaged."""
        shapes = {"gram": (dimension, dimension), "moment": (dimension,), "sums": (2,), "counts": (3,)}
        if set(state) != set(shapes) or any(
            state[name].shape != shape or not np.isfinite(state[name]).all() for name, shape in shapes.items()
        ):
            raise StateError("The checkpoint's probation of an LLM is damaged. Load another checkpoint.")
        wait, due, judged = state["counts"].tolist()
        if not wait > 0 or judged < 0:
            raise StateError("The checkpoint's probation of an LLM is damaged. Load another checkpoint.")
        before = {name: state[name].astype(np.float64) for name in _SUMS}
        return cls(before=before, wait=wait, due=due, judged=judged)
