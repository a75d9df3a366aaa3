"""``cheapest``: everything to the LLM that cost least."""

from __future__ import annotations

from typing import final

import numpy as np

from mixllm.evaluation.baselines.constant import always
from mixllm.evaluation.contender import Predictions, TestData, TrainingData

__all__ = ["Cheapest"]


@final
class Cheapest:
    """Sends every query to the LLM of the least mean cost in the training part; of equals to the better one."""

    name = "cheapest"
    folds = 1

    def __init__(self) -> None:
        self._column = self._llms = 0

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Find the LLM."""
        del rng
        log = training.log
        self._column = int(np.lexsort((-log.mean_quality(), log.mean_cost_usd()))[0])
        self._llms = len(log.llms)

    def predict(self, test: TestData) -> Predictions:
        """Return predictions by which this LLM is always best."""
        return always(np.full(len(test), self._column, dtype=np.intp), self._llms)
