"""``knn``: the mean of the nearest training queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.baselines.tuning import best_of, held_out_fifth, mean_squared_error
from mixllm.evaluation.contender import Predictions, TestData, TrainingData

__all__ = ["Neighbours"]

_ROWS = 1024  # queries at a time, which bounds the memory


@final
class Neighbours:
    """Quality and cost of the k nearest training queries by cosine, all weighing alike.

    Parameters
    ----------
    counts
        Candidates for k; more than one are compared by the squared error of quality on a fifth of the training part.
    """

    name = "knn"
    folds = 1

    def __init__(self, *, counts: Sequence[int] = (20, 50, 100, 200)) -> None:
        self.counts = tuple(counts)
        self.chosen = self.counts[0]
        self._encodings: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)
        self._outcomes: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)
        self._unit: NDArray[np.float64] = np.ones(1)

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Keep the queries, and choose k."""
        log = training.log
        self._unit = np.maximum(log.cost_usd.mean(axis=0), np.finfo(np.float64).tiny)
        outcomes = np.hstack([log.quality, log.cost_usd / self._unit]).astype(np.float32)
        self.chosen = self.counts[0]
        if len(self.counts) > 1:
            rows, held_out = held_out_fifth(len(training), rng)
            self._encodings, self._outcomes = training.encodings[rows], outcomes[rows]
            means = self._means(training.encodings[held_out], self.counts)
            errors = {
                count: mean_squared_error(mean[:, : len(log.llms)], log.quality[held_out])
                for count, mean in means.items()
            }
            self.chosen = best_of(self.counts, errors.__getitem__)
        self._encodings, self._outcomes = training.encodings, outcomes

    def predict(self, test: TestData) -> Predictions:
        """Return the neighbours' means."""
        means = self._means(test.encodings, (self.chosen,))[self.chosen].astype(np.float64)
        llms = len(self._unit)
        return Predictions(quality=means[:, :llms], cost_usd=means[:, llms:] * self._unit)

    def _means(self, encodings: NDArray[np.float32], counts: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        most = min(max(counts), len(self._encodings))
        found: dict[int, list[NDArray[np.float32]]] = {count: [] for count in counts}
        for start in range(0, len(encodings), _ROWS):
            likeness = encodings[start : start + _ROWS] @ self._encodings.T
            near = np.argpartition(-likeness, most - 1, axis=1)[:, :most]
            if len(counts) > 1:
                order = np.argsort(-np.take_along_axis(likeness, near, axis=1), axis=1, kind="stable")
                near = np.take_along_axis(near, order, axis=1)
            for count in counts:
                found[count].append(self._outcomes[near[:, :count]].mean(axis=1))
        return {count: np.concatenate(parts) for count, parts in found.items()}
