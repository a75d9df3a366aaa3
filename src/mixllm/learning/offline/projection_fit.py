"""The shorter vector Wx, fitted without any judgement of quality."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.tags import LinearProjection
from mixllm.tags.separation import separation_loss

__all__ = ["fit_principal", "fit_separating"]

_BATCH = 512
_DECAY = (0.9, 0.99)
_INTER_WEIGHT = 2.0
"""At 1 the loss can shrink everything into one point first, where centroids no longer repel each other."""


def fit_principal(encodings: NDArray[np.float32], *, dimension: int) -> LinearProjection:
    """Return the projection on the principal components of `encodings`, shape (n, d).

    Lengths are kept: what a query has little of stays small, and the prior shrinks it.
    """
    _check(encodings, dimension)
    centre = encodings.mean(axis=0)
    return LinearProjection(matrix=_components(encodings - centre, dimension), centre=centre, unit=False)


def fit_separating(
    encodings: NDArray[np.float32],
    weights: NDArray[np.floating],
    *,
    dimension: int,
    rng: np.random.Generator,
    steps: int = 150,
    learning_rate: float = 0.05,
) -> LinearProjection:
    """Return the tag-enhanced projection: near to its domain's centroid, centroids apart (paper Eq. 1–3).

    Parameters
    ----------
    encodings
        Unit vectors, shape (n, d).
    weights
        How much of each tag a query has, shape (n, T).
    dimension
        d'.
    rng
        Draws the batches.
    steps, learning_rate
        Of Adam (Kingma & Ba 2015), from the principal components on.

    Notes
    -----
    Minimises `separation_loss` of W(x − c) over W.
    """
    _check(encodings, dimension)
    centre = encodings.mean(axis=0)
    centred = encodings - centre
    matrix = _components(centred, dimension).astype(np.float64)
    labelled = np.flatnonzero(np.asarray(weights).sum(axis=1) > 0)
    if len(weights) != len(encodings) or not len(labelled):
        raise InvalidValueError(
            "weights", np.shape(weights), f"tags of the {len(encodings)} queries, one or more known"
        )
    first, second = np.zeros_like(matrix), np.zeros_like(matrix)
    for step in range(1, steps + 1):
        batch = rng.choice(labelled, size=min(_BATCH, len(labelled)), replace=False)
        loss = separation_loss(centred[batch] @ matrix.T, weights[batch], inter_weight=_INTER_WEIGHT)
        gradient = loss.gradient.T @ centred[batch]
        first = _DECAY[0] * first + (1 - _DECAY[0]) * gradient
        second = _DECAY[1] * second + (1 - _DECAY[1]) * gradient**2
        unbiased = np.sqrt(second / (1 - _DECAY[1] ** step)) + 1e-8
        matrix -= learning_rate * first / (1 - _DECAY[0] ** step) / unbiased
    return LinearProjection(matrix=matrix, centre=centre, unit=True)


def _components(centred: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    components = vectors[:, np.argsort(-values)[:dimension]].T
    # Signs are arbitrary; fixing them keeps fingerprints the same from one machine to the next.
    signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
    fixed: NDArray[np.float32] = (components * signs[:, None]).astype(np.float32)
    return fixed


def _check(encodings: NDArray[np.float32], dimension: int) -> None:
    if not 1 <= dimension <= encodings.shape[1]:
        raise InvalidValueError("dimension", dimension, f"between 1 and {encodings.shape[1]}")
