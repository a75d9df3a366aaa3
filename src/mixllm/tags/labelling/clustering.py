"""k-means with weights and seeds, and the silhouette that picks the number of clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError

__all__ = ["Clustering", "best_clustering", "k_means", "silhouette"]

_STARTS = 4
_MAX_ROUNDS = 60
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clustering:
    """Points in clusters.

    Parameters
    ----------
    labels
        Cluster of each point, shape (n,), from 0.
    inertia
        Weighted sum of the squared distances to the centres.
    """

    labels: NDArray[np.intp]
    inertia: float


def k_means(
    points: NDArray[np.float64], *, weights: NDArray[np.float64], clusters: int, rng: np.random.Generator
) -> Clustering:
    """Return the best of a few runs of weighted k-means, each started by k-means++ (Arthur & Vassilvitskii 2007).

    Parameters
    ----------
    points
        Shape (n, d).
    weights
        Above 0, shape (n,).
    clusters
        k, from 1 to n. Where fewer points differ, fewer clusters come back.
    rng
        Draws the starts.

    Raises
    ------
    InvalidValueError
        Where `clusters` is out of range.

    Examples
    --------
    >>> points = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> found = k_means(points, weights=np.ones(4), clusters=2, rng=np.random.default_rng(0))
    >>> first, second, third, fourth = found.labels.tolist()
    >>> first == second != third == fourth
    True
    """
    if not 1 <= clusters <= len(points):
        raise InvalidValueError("clusters", clusters, f"between 1 and {len(points)}")
    runs = [_one_run(points, weights, clusters, rng) for _ in range(_STARTS)]
    best = min(runs, key=lambda run: run.inertia)
    _, labels = np.unique(best.labels, return_inverse=True)
    return Clustering(labels=labels.astype(np.intp), inertia=best.inertia)


def silhouette(distances: NDArray[np.float64], *, labels: NDArray[np.intp], weights: NDArray[np.float64]) -> float:
    """Return the weighted mean silhouette (Rousseeuw 1987), between -1 and 1; 0 where there is one cluster.

    s = (b − a)/max(a, b), a being the mean distance of a point to the others of its cluster and b that to the nearest
    other cluster; 0 for a point that is alone.

    Parameters
    ----------
    distances
        Between all points, shape (n, n).
    labels
        Cluster of each point, shape (n,), from 0 without gaps.
    weights
        Of the points, shape (n,), above 0.
    """
    clusters = int(labels.max()) + 1
    if clusters < 2:
        return 0.0
    member = np.eye(clusters)[labels]
    sizes = member.sum(axis=0)
    sums = distances @ member
    rows = np.arange(len(labels))
    own = sizes[labels]
    within = sums[rows, labels] / np.maximum(own - 1, 1)
    means = sums / sizes
    means[rows, labels] = np.inf
    nearest = means.min(axis=1)
    scores = np.where(own > 1, (nearest - within) / np.maximum(np.maximum(nearest, within), _TINY), 0.0)
    return float(np.average(scores, weights=weights))


def best_clustering(
    points: NDArray[np.float64], *, weights: NDArray[np.float64], least: int, most: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return the clusters, from `least` to `most` of them, whose silhouette is the highest; of equals the fewer.

    Parameters
    ----------
    points
        Shape (n, d), n at least 1.
    weights
        Above 0, shape (n,).
    least, most
        Bounds of k; both are cut to n.
    rng
        Draws the starts.

    Returns
    -------
    NDArray
        Cluster of each point, shape (n,).
    """
    squares = (points**2).sum(axis=1)
    gaps = squares[:, None] + squares[None, :] - 2.0 * points @ points.T
    np.fill_diagonal(gaps, 0.0)
    distances = np.sqrt(np.maximum(gaps, 0.0))
    best, best_score = np.zeros(len(points), np.intp), -np.inf
    for clusters in range(min(least, len(points)), min(most, len(points)) + 1):
        labels = k_means(points, weights=weights, clusters=clusters, rng=rng).labels
        score = silhouette(distances, labels=labels, weights=weights)
        if score > best_score + _TINY:
            best, best_score = labels, score
    return best


def _one_run(
    points: NDArray[np.float64], weights: NDArray[np.float64], clusters: int, rng: np.random.Generator
) -> Clustering:
    centres = _spread_start(points, weights, clusters, rng)
    labels = np.full(len(points), -1, np.intp)
    for _ in range(_MAX_ROUNDS):
        fresh = _gaps(points, centres).argmin(axis=1)
        if (fresh == labels).all():
            break
        labels = fresh
        mass = np.bincount(labels, weights=weights, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, points * weights[:, None])
        # An empty cluster keeps its centre, and may win points again.
        centres = np.where(mass[:, None] > 0, sums / np.maximum(mass, _TINY)[:, None], centres)
    inertia = float((weights * _gaps(points, centres)[np.arange(len(points)), labels]).sum())
    return Clustering(labels=labels, inertia=inertia)


def _spread_start(
    points: NDArray[np.float64], weights: NDArray[np.float64], clusters: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    chosen = [int(rng.choice(len(points), p=weights / weights.sum()))]
    while len(chosen) < clusters:
        mass = weights * _gaps(points, points[chosen]).min(axis=1)
        if mass.sum() <= _TINY:
            break  # Fewer points differ than there are clusters.
        chosen.append(int(rng.choice(len(points), p=mass / mass.sum())))
    return points[chosen].copy()


def _gaps(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances, shape (n, k)."""
    gaps = (points**2).sum(axis=1)[:, None] - 2.0 * points @ centres.T + (centres**2).sum(axis=1)[None, :]
    squares: NDArray[np.float64] = np.maximum(gaps, 0.0)
    return squares
