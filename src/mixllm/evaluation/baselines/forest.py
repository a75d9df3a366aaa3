"""``rf``: a random forest on the encoding."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from mixllm.evaluation.baselines.costs import TokenCosts
from mixllm.evaluation.contender import Predictions, TestData, TrainingData
from mixllm.evaluation.extra import bench_extra

__all__ = ["Forest"]

_FEWEST_TO_SAMPLE = 100


@final
class Forest:
    """Quality of all LLMs by one random forest; cost by the prompt's length.

    Parameters
    ----------
    trees
        Number of trees.
    least_leaf
        Fewest queries of a leaf.
    features
        Share of the encoding's dimensions that a split may look at.
    jobs
        Threads.
    """

    name = "rf"
    folds = 1

    def __init__(self, *, trees: int = 60, least_leaf: int = 20, features: float = 0.1, jobs: int = 2) -> None:
        self.trees, self.least_leaf, self.features, self.jobs = trees, least_leaf, features, jobs
        self._forest: Any = None
        self._costs = TokenCosts()

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Grow the trees."""
        with bench_extra("rf"):
            from sklearn.ensemble import RandomForestRegressor

        self._forest = RandomForestRegressor(
            n_estimators=self.trees,
            min_samples_leaf=self.least_leaf,
            max_features=self.features,
            max_samples=0.7 if len(training) >= _FEWEST_TO_SAMPLE else None,
            n_jobs=self.jobs,
            random_state=int(rng.integers(2**31)),
        ).fit(training.encodings, training.log.quality)
        self._costs.fit(training)

    def predict(self, test: TestData) -> Predictions:
        """Return expected qualities and costs."""
        quality = np.asarray(self._forest.predict(test.encodings), dtype=np.float64).reshape(len(test), -1)
        return Predictions(quality=quality, cost_usd=self._costs.predict(test))
