"""``kmeans``: clusters of encodings, and how each LLM did in each (Avengers)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.baselines.tuning import best_of, held_out_fifth, mean_squared_error
from mixllm.evaluation.contender import Predictions, TestData, TrainingData
from mixllm.evaluation.extra import bench_extra

__all__ = ["Clusters", "cluster_means", "fit_clusters"]


@final
class Clusters:
    """Mean quality and cost of each LLM in the cluster of the query.

    Parameters
    ----------
    counts
        Candidates for the number of clusters, compared by the squared error of quality on a fifth of the training part.

    References
    ----------
    Y. Zhang et al.: The Avengers: A Simple Recipe for Uniting Smaller Language Models. arXiv:2505.19797.
    """

    name = "kmeans"
    folds = 1

    def __init__(self, *, counts: Sequence[int] = (8, 16, 32, 64)) -> None:
        self.counts = tuple(counts)
        self.chosen = self.counts[0]
        self._clusters: Any = None
        self._quality: NDArray[np.float64] = np.zeros((0, 0))
        self._cost_usd: NDArray[np.float64] = np.zeros((0, 0))

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        """Find the clusters, and the LLMs' means in them."""
        log = training.log
        if len(self.counts) > 1:
            rows, held_out = held_out_fifth(len(training), rng)

            def error(count: int) -> float:
                clusters = fit_clusters(training.encodings[rows], count, rng)
                means = cluster_means(clusters.labels_, log.quality[rows])
                return mean_squared_error(means[clusters.predict(training.encodings[held_out])], log.quality[held_out])

            self.chosen = best_of(self.counts, error)
        self._clusters = fit_clusters(training.encodings, self.chosen, rng)
        self._quality = cluster_means(self._clusters.labels_, log.quality)
        self._cost_usd = cluster_means(self._clusters.labels_, log.cost_usd)

    def predict(self, test: TestData) -> Predictions:
        """Return the means of each query's cluster."""
        cluster = self._clusters.predict(test.encodings)
        return Predictions(quality=self._quality[cluster], cost_usd=self._cost_usd[cluster])


def fit_clusters(encodings: NDArray[np.float32], count: int, rng: np.random.Generator) -> Any:
    """Return scikit-learn's k-means of the encodings, with as many clusters as there are different ones at most."""
    with bench_extra("k-means"):
        from sklearn.cluster import KMeans

    different = len(np.unique(encodings, axis=0)) if len(encodings) < 4 * count else count
    clusters = KMeans(
        n_clusters=min(count, different), n_init=1, max_iter=50, tol=1e-3, random_state=int(rng.integers(2**31))
    )
    return clusters.fit(encodings)


def cluster_means(cluster: NDArray[np.integer], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of `values`, shape (n, K), in each cluster, shape (C, K); the mean of all where it is empty."""
    clusters = int(cluster.max()) + 1
    sums = np.zeros((clusters, values.shape[1]))
    np.add.at(sums, cluster, values)
    counts = np.bincount(cluster, minlength=clusters)[:, None]
    return np.where(counts > 0, sums / np.maximum(counts, 1), values.mean(axis=0))
