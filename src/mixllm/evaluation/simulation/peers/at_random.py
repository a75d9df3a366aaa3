"""Any LLM, each as often as the others."""

from __future__ import annotations

import numpy as np

from mixllm.evaluation.simulation.player import Arrival, Feedback

__all__ = ["AtRandom"]


class AtRandom:
    """Choose among the pool at random.

    Parameters
    ----------
    rng
        Source of the draws.
    """

    def __init__(self, *, rng: np.random.Generator) -> None:
        self._rng = rng

    def choose(self, arrival: Arrival) -> str:
        """Return any LLM of the pool."""
        return arrival.eligible[int(self._rng.integers(len(arrival.pool)))]

    def learn(self, feedback: Feedback) -> None:
        """Learn nothing."""

    def close(self) -> None:
        """Hold nothing."""
