"""Cost for contenders that forecast quality alone: each LLM's mean cost, scaled by the length of the prompt."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.contender import TestData, TrainingData

__all__ = ["TokenCosts"]


@final
class TokenCosts:
    """Least squares of each LLM's cost on the prompt's tokens.

    A line is kept to costs that were seen: below the cheapest call of its LLM, or above the dearest, it ends.
    """

    def __init__(self) -> None:
        self._mean_tokens = 0.0
        self._mean = self._slope = self._low = self._high = np.zeros(0)

    def fit(self, training: TrainingData) -> None:
        """Learn the lines from the training part."""
        costs, tokens = training.log.cost_usd, training.tokens_in
        self._mean_tokens = float(tokens.mean())
        centred = tokens - self._mean_tokens
        spread = float(centred @ centred)
        self._mean = costs.mean(axis=0)
        self._slope = centred @ (costs - self._mean) / spread if spread > 0 else np.zeros_like(self._mean)
        self._low, self._high = costs.min(axis=0), costs.max(axis=0)

    def predict(self, test: TestData) -> NDArray[np.float64]:
        """Return the expected costs in dollars, shape (m, K)."""
        line = self._mean + np.outer(test.tokens_in - self._mean_tokens, self._slope)
        return np.clip(line, self._low, self._high)
