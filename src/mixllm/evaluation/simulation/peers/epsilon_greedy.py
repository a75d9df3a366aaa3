"""ε-greedy on a ridge regression of the reward for each LLM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.simulation.player import Arrival, Feedback
from mixllm.units import fraction, positive

__all__ = ["EpsilonGreedy"]


class EpsilonGreedy:
    """Choose the LLM of the highest predicted reward, and with probability ε any.

    Parameters
    ----------
    epsilon
        ε in [0, 1].
    rng
        Source of the draws.
    penalty
        Ridge penalty of each LLM's regression, > 0.

    Notes
    -----
    θ = A⁻¹ b with A = penalty·I + Σ z zᵀ and b = Σ r z, A⁻¹ kept up to date by the Sherman–Morrison formula.
    """

    def __init__(self, *, epsilon: float, rng: np.random.Generator, penalty: float = 1.0) -> None:
        self.epsilon = fraction("epsilon", epsilon)
        self.penalty = positive("penalty", penalty)
        self._rng = rng
        self._inverse: dict[str, NDArray[np.float64]] = {}
        self._moment: dict[str, NDArray[np.float64]] = {}
        self._asked: dict[int, NDArray[np.float64]] = {}

    def choose(self, arrival: Arrival) -> str:
        """Return the LLM that looks best, or any."""
        self._asked[arrival.number] = arrival.features
        names = arrival.eligible
        if self._rng.random() < self.epsilon:
            return names[int(self._rng.integers(len(names)))]
        rewards = np.array([self._predicted(llm, arrival.features) for llm in names])
        best = np.flatnonzero(rewards == rewards.max())
        return names[int(self._rng.choice(best))]

    def learn(self, feedback: Feedback) -> None:
        """Add one reward to the regression of its LLM."""
        features = self._asked.pop(feedback.number)
        if feedback.reward is None:
            return
        size = len(features)
        inverse = self._inverse.setdefault(feedback.llm, np.eye(size) / self.penalty)
        moment = self._moment.setdefault(feedback.llm, np.zeros(size))
        step = inverse @ features
        inverse -= np.outer(step, step) / (1.0 + features @ step)
        moment += feedback.reward * features

    def close(self) -> None:
        """Hold nothing."""

    def _predicted(self, llm: str, features: NDArray[np.float64]) -> float:
        if llm not in self._moment:
            return 0.0
        return float(features @ (self._inverse[llm] @ self._moment[llm]))
