"""``zero``: RouterBench's zero router, which knows the LLMs and not the query."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.contender import Predictions, TestData, TrainingData

__all__ = ["Zero"]


@final
class Zero:
    """Mixes the LLMs on the hull of the training part's means at random: what any router has to beat.

    Every query gets the same predictions, so the sweep passes from LLM to LLM along that hull, and the frontier mixes
    neighbours.
    """

    name = "zero"
    folds = 3

    def __init__(self) -> None:
        self._quality: NDArray[np.float64] = np.zeros(1)
        self._cost_usd: NDArray[np.float64] = np.zeros(1)

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Take the LLMs' means."""
        del rng
        self._quality, self._cost_usd = training.log.mean_quality(), training.log.mean_cost_usd()

    def predict(self, test: TestData) -> Predictions:
        """Return the same for every query."""
        return Predictions(
            quality=np.tile(self._quality, (len(test), 1)), cost_usd=np.tile(self._cost_usd, (len(test), 1))
        )
