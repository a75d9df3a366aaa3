"""``carrot``: CARROT's two heads, quality and cost, as ridge regressions on the encoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.baselines.ridge import Ridge
from mixllm.evaluation.baselines.tuning import routed_area
from mixllm.evaluation.contender import Predictions, TestData, TrainingData

__all__ = ["Carrot"]

_PENALTIES = tuple(float(penalty) for penalty in np.logspace(-4, 0, 17))


@final
class Carrot:
    """Quality and cost of every LLM, by two ridge regressions with a penalty each.

    The penalty of quality is the one whose leave-one-out predictions route the training part best: the squared error
    would choose one that shrinks less than routing likes. That of cost has the least squared error.

    Parameters
    ----------
    penalties
        Candidates, as shares of the number of queries.

    References
    ----------
    S. Somerstep et al.: CARROT: A Cost Aware Rate Optimal Router. arXiv:2502.03261.
    """

    name = "carrot"
    folds = 3

    def __init__(self, *, penalties: Sequence[float] = _PENALTIES) -> None:
        self._quality, self._cost = Ridge(penalties=penalties), Ridge(penalties=penalties)
        self._unit: NDArray[np.float64] = np.ones(1)
        self._low: NDArray[np.float64] = np.zeros(1)

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Learn both heads."""
        del rng
        costs = training.log.cost_usd
        self._unit, self._low = np.maximum(costs.mean(axis=0), np.finfo(np.float64).tiny), costs.min(axis=0)
        self._cost.fit(training.encodings, costs / self._unit)
        feared = self._costs(training.encodings)
        self._quality.fit(
            training.encodings,
            training.log.quality,
            loss=lambda hoped: -routed_area(Predictions(quality=hoped, cost_usd=feared), training),
        )

    def predict(self, test: TestData) -> Predictions:
        """Return both heads' values; no cost is below the LLM's cheapest call."""
        return Predictions(
            quality=self._quality.predict(test.encodings),
            cost_usd=self._costs(test.encodings),
        )

    def _costs(self, encodings: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.maximum(self._cost.predict(encodings) * self._unit, self._low)
