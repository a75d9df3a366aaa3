"""Bounds that know the whole stream: the best LLM of each query, and the best single LLM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.simulation.player import Arrival, Feedback, Truth

__all__ = ["BestSingle", "Oracle"]


class Oracle:
    """Choose what turns out best for each query: no policy can do better."""

    def __init__(self) -> None:
        self._best: NDArray[np.intp] = np.zeros(0, np.intp)
        self._llms: tuple[str, ...] = ()

    def look(self, truth: Truth) -> None:
        """See what every choice is worth."""
        self._llms = truth.llms
        self._best = np.where(truth.in_pool, truth.reward, -np.inf).argmax(axis=1)

    def choose(self, arrival: Arrival) -> str:
        """Return the best LLM of the query."""
        return self._llms[int(self._best[arrival.number])]

    def learn(self, feedback: Feedback) -> None:
        """Learn nothing: it knows all."""

    def close(self) -> None:
        """Hold nothing."""


class BestSingle:
    """Send everything to the LLM whose mean reward is the highest over the queries that it could have taken.

    While that one is not in the pool, the next best takes its place.
    """

    def __init__(self) -> None:
        self._ranked: tuple[str, ...] = ()

    def look(self, truth: Truth) -> None:
        """See what every LLM is worth on the whole."""
        counts = truth.in_pool.sum(axis=0)
        sums = np.where(truth.in_pool, truth.reward, 0.0).sum(axis=0)
        means = np.divide(sums, counts, out=np.full(len(truth.llms), -np.inf), where=counts > 0)
        self._ranked = tuple(truth.llms[column] for column in np.argsort(-means, kind="stable"))

    def choose(self, arrival: Arrival) -> str:
        """Return the best single LLM of those in the pool."""
        return next(llm for llm in self._ranked if llm in arrival.eligible)

    def learn(self, feedback: Feedback) -> None:
        """Learn nothing: it knows all."""

    def close(self) -> None:
        """Hold nothing."""
