"""``random``: each query to any LLM."""

from __future__ import annotations

from typing import final

import numpy as np

from mixllm.evaluation.baselines.constant import always
from mixllm.evaluation.contender import Predictions, TestData, TrainingData

__all__ = ["AtRandom"]


@final
class AtRandom:
    """Sends each query to an LLM drawn at random, all alike."""

    name = "random"
    folds = 1

    def __init__(self) -> None:
        self._llms = 1
        self._rng = np.random.default_rng(0)

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Count the LLMs."""
        self._llms, self._rng = len(training.log.llms), rng

    def predict(self, test: TestData) -> Predictions:
        """Return predictions by which a drawn LLM is best."""
        return always(self._rng.integers(self._llms, size=len(test)), self._llms)
