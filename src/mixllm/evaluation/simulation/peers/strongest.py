"""What people do without a router: everything to the strongest LLM."""

from __future__ import annotations

from collections.abc import Sequence

from mixllm.evaluation.simulation.player import Arrival, Feedback

__all__ = ["AlwaysStrongest"]


class AlwaysStrongest:
    """Send everything to the first LLM of a ranking that is in the pool.

    Parameters
    ----------
    ranked
        Every LLM of the log, the strongest first.
    """

    def __init__(self, *, ranked: Sequence[str]) -> None:
        self._ranked = tuple(ranked)

    def choose(self, arrival: Arrival) -> str:
        """Return the strongest LLM of the pool."""
        return next(llm for llm in self._ranked if llm in arrival.eligible)

    def learn(self, feedback: Feedback) -> None:
        """Learn nothing."""

    def close(self) -> None:
        """Hold nothing."""
