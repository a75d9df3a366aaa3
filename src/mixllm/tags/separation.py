"""How well domains are separated: queries near their domain's centroid, centroids apart from each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixllm.errors import InvalidValueError
from mixllm.units import non_negative

__all__ = ["SeparationLoss", "one_hot", "separation_loss"]

_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeparationLoss:
    """The loss of a set of embeddings, and its gradient.

    Parameters
    ----------
    intra
        Mean distance 1 − cos of a query from the centroid of its domain, in [0, 1].
    inter
        Mean excess of the cosine between two centroids over the margin, in [0, 2].
    gradient
        Derivative of `value` with respect to the embeddings, shape (n, d), float64.
    inter_weight
        How much `inter` counts.
    """

    intra: float
    inter: float
    gradient: NDArray[np.float64]
    inter_weight: float = 1.0

    @property
    def value(self) -> float:
        """L = intra + inter_weight · inter."""
        return self.intra + self.inter_weight * self.inter


def separation_loss(
    embeddings: NDArray[Any], weights: NDArray[Any], *, margin: float = 0.0, inter_weight: float = 1.0
) -> SeparationLoss:
    r"""Return the loss L = L_intra + ω L_inter of embeddings whose domains are known, and its gradient.

    Parameters
    ----------
    embeddings
        e, shape (n, d), of any length; only their directions count.
    weights
        How much each query belongs to each domain, shape (n, T), >= 0; `one_hot` makes them from labels. A row of
        zeros is a query whose domain is not known: it does not count.
    margin
        μ, in [-1, 1]: centroids whose cosine is at most this are far enough apart.
    inter_weight
        ω, >= 0. Where domains are much nearer to each other than their queries are, descending on ω = 1 first draws
        everything together into one point, which is a saddle of this loss; a larger ω prevents that.

    Returns
    -------
    SeparationLoss
        0, with a gradient of zeros, where no query counts.

    Raises
    ------
    InvalidValueError
        Where shapes do not fit, a number is not finite, a weight is negative, or the margin is out of range.

    Notes
    -----
    With the directions :math:`x_n = e_n / \lVert e_n \rVert`, the weights of the domains
    :math:`W_t = \sum_n w_{nt}`, their means :math:`m_t = \sum_n w_{nt} x_n / W_t` and centroids
    :math:`c_t = m_t / \lVert m_t \rVert`,

    .. math:: L_\text{intra} = \frac{\sum_{nt} w_{nt} (1 - x_n^\top c_t)}{\sum_t W_t}
              = 1 - \frac{\sum_t W_t \lVert m_t \rVert}{\sum_t W_t}, \qquad
              L_\text{inter} = \frac{2}{P (P - 1)} \sum_{a < b} \max(0, c_a^\top c_b - \mu)

    over the P domains that have any weight. With hard labels L_intra is the mean over queries of
    1 − cos(e_n, centroid of its domain). This is the paper's "intra" and "inter" (its Eq. 1-3); the exact forms are
    ours. The gradient goes through the centroids. At a cosine of exactly μ, where L_inter has a kink, that of the flat
    side is returned; embeddings and means of length zero have no direction and get no gradient.

    Examples
    --------
    >>> weights = one_hot(["law", "law", "code", "code"])[1]
    >>> mixed = separation_loss(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), weights)
    >>> apart = separation_loss(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), weights)
    >>> round(mixed.intra, 3), round(mixed.inter, 3), apart.value
    (0.293, 1.0, 0.0)
    """
    vectors, shares = _checked(embeddings, weights, margin)
    non_negative("inter_weight", inter_weight)
    lengths = np.linalg.norm(vectors, axis=1)
    directions = np.divide(vectors, lengths[:, None], out=np.zeros_like(vectors), where=lengths[:, None] > _TINY)
    shares = np.where(lengths[:, None] > _TINY, shares, 0.0)
    totals = shares.sum(axis=0)
    present = totals > 0.0
    shares, totals = shares[:, present], totals[present]
    if not len(totals):
        return SeparationLoss(intra=0.0, inter=0.0, gradient=np.zeros_like(vectors), inter_weight=inter_weight)
    means = (shares.T @ directions) / totals[:, None]
    mean_lengths = np.linalg.norm(means, axis=1)
    known = mean_lengths > _TINY
    centroids = np.divide(means, mean_lengths[:, None], out=np.zeros_like(means), where=known[:, None])
    intra = 1.0 - float(totals @ mean_lengths / totals.sum())
    inter, by_mean = _between(centroids, mean_lengths, known, margin)
    by_mean = inter_weight * by_mean - centroids * (totals / totals.sum())[:, None]
    by_direction = (shares / totals) @ by_mean
    tangent = by_direction - (by_direction * directions).sum(axis=1, keepdims=True) * directions
    gradient = np.divide(tangent, lengths[:, None], out=np.zeros_like(vectors), where=lengths[:, None] > _TINY)
    return SeparationLoss(intra=max(0.0, intra), inter=inter, gradient=gradient, inter_weight=inter_weight)


def one_hot(labels: ArrayLike) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the names of the domains, sorted, and the weights of queries with these labels, shape (n, T).

    Examples
    --------
    >>> names, weights = one_hot(["law", "code", "law"])
    >>> names, weights.tolist()
    (('code', 'law'), [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    """
    names, places = np.unique(np.asarray(labels, dtype=np.str_), return_inverse=True)
    if places.ndim != 1:
        raise InvalidValueError("labels", f"shape {places.shape}", "one label a query")
    return tuple(names.tolist()), np.eye(len(names))[places]


def _between(
    centroids: NDArray[np.float64], mean_lengths: NDArray[np.float64], known: NDArray[np.bool_], margin: float
) -> tuple[float, NDArray[np.float64]]:
    """Return L_inter and its derivative with respect to the means, shape (P, d)."""
    domains = len(centroids)
    if domains < 2:
        return 0.0, np.zeros_like(centroids)
    cosines = centroids @ centroids.T
    counted = (cosines > margin) & np.outer(known, known) & ~np.eye(domains, dtype=bool)
    pairs = domains * (domains - 1) / 2
    value = float((cosines - margin)[counted].sum()) / 2 / pairs
    pull = counted @ centroids - (counted * cosines).sum(axis=1, keepdims=True) * centroids
    by_mean = np.divide(pull, mean_lengths[:, None] * pairs, out=np.zeros_like(pull), where=known[:, None])
    return value, by_mean


def _checked(
    embeddings: NDArray[Any], weights: NDArray[Any], margin: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    vectors, shares = np.asarray(embeddings, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise InvalidValueError("embeddings", f"shape {vectors.shape}", "a matrix of finite numbers, one row a query")
    if shares.ndim != 2 or len(shares) != len(vectors):
        raise InvalidValueError("weights", f"shape {shares.shape}", f"a matrix with {len(vectors)} rows, as embeddings")
    if not (np.isfinite(shares).all() and (shares >= 0).all()):
        raise InvalidValueError("weights", "negative or not finite", "finite numbers >= 0")
    if not -1.0 <= margin <= 1.0:
        raise InvalidValueError("margin", margin, "between -1 and 1")
    return vectors, shares
