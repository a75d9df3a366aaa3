"""``oracle``: the truth itself, the bound of every router."""

from __future__ import annotations

from typing import final

import numpy as np

from mixllm.errors import InvalidValueError
from mixllm.evaluation.contender import Predictions, TestData, TrainingData
from mixllm.logs import RoutingLog

__all__ = ["Oracle"]


@final
class Oracle:
    """Predicts what was recorded. The only contender that sees outcomes, and through `look` alone."""

    name = "oracle"
    folds = 1

    def __init__(self) -> None:
        self._truth: RoutingLog | None = None

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Learn nothing, and forget what was seen before."""
        del training, rng
        self._truth = None

    def look(self, log: RoutingLog) -> None:
        """See the outcomes of the next queries."""
        self._truth = log

    def predict(self, test: TestData) -> Predictions:
        """Return the recorded qualities and costs; raises `InvalidValueError` where they were not seen."""
        if self._truth is None or len(self._truth) != len(test):
            raise InvalidValueError("test", f"{len(test)} queries", "the queries that were seen: call look first")
        return Predictions(quality=self._truth.quality, cost_usd=self._truth.cost_usd)
