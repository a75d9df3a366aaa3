"""``tag-mean``: the mean quality and cost per tag, the tag being guessed from the encoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.baselines.kmeans import cluster_means, fit_clusters
from mixllm.evaluation.baselines.tuning import best_of, held_out_fifth
from mixllm.evaluation.contender import Predictions, TestData, TrainingData
from mixllm.evaluation.extra import bench_extra

__all__ = ["TagMean"]

_CLUSTERS = 20  # as many tags as the paper has, where the log names none


@final
class TagMean:
    """Each LLM's mean on a tag, weighted with the probabilities of the query's tags.

    A logistic regression on the encoding learns the log's label; where the training part has none, tags are clusters
    of encodings. True labels of the queries to be routed are never used: they are not known at run time.

    Parameters
    ----------
    strengths
        Candidates for scikit-learn's C, compared by the tag's likelihood on a fifth of the training part.
    """

    name = "tag-mean"
    folds = 1

    def __init__(self, *, strengths: Sequence[float] = (1.0, 10.0, 100.0)) -> None:
        self.strengths = tuple(strengths)
        self._tagger: Any = None
        self._soft = False
        self._quality: NDArray[np.float64] = np.zeros((0, 0))
        self._cost_usd: NDArray[np.float64] = np.zeros((0, 0))

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Learn to guess tags, and each LLM's means."""
        log = training.log
        labels = None if training.label is None else log.labels[training.label]
        self._soft = labels is not None and len(set(labels)) > 1
        if labels is not None and self._soft:
            _, tags = np.unique(np.array(labels), return_inverse=True)
            self._tagger = self._tuned(training.encodings, tags, rng)
        else:
            self._tagger = fit_clusters(training.encodings, _CLUSTERS, rng)
            tags = self._tagger.labels_
        self._quality, self._cost_usd = cluster_means(tags, log.quality), cluster_means(tags, log.cost_usd)

    def predict(self, test: TestData) -> Predictions:
        """Return the means of each query's likely tags."""
        if self._soft:
            share = self._tagger.predict_proba(test.encodings).astype(np.float64)
            return Predictions(quality=share @ self._quality, cost_usd=share @ self._cost_usd)
        tag = self._tagger.predict(test.encodings)
        return Predictions(quality=self._quality[tag], cost_usd=self._cost_usd[tag])

    def _tuned(self, encodings: NDArray[np.float32], tags: NDArray[np.integer], rng: np.random.Generator) -> Any:
        rows, held_out = held_out_fifth(len(tags), rng)
        held_out = held_out[np.isin(tags[held_out], tags[rows])]
        if len(set(tags[rows].tolist())) < 2 or held_out.size == 0:
            return _tagger(encodings, tags, self.strengths[0])

        def surprise(strength: float) -> float:
            tagger = _tagger(encodings[rows], tags[rows], strength)
            column = np.searchsorted(tagger.classes_, tags[held_out])
            share = tagger.predict_proba(encodings[held_out])[np.arange(held_out.size), column]
            return -float(np.log(np.maximum(share, 1e-9)).mean())

        return _tagger(encodings, tags, best_of(self.strengths, surprise))


def _tagger(encodings: NDArray[np.float32], tags: NDArray[np.integer], strength: float) -> Any:
    with bench_extra("tag-mean"):
        from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, tol=1e-3, max_iter=1000).fit(encodings, tags)
