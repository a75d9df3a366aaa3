"""Frozen nearest neighbours: a bounded index of unit vectors that the regressors of many LLMs share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import FloatArray
from mixllm.predictors.frozen import (
    FrozenRegressor,
    checked_features,
    frozen_floats,
    frozen_indices,
    require_arrays,
)

__all__ = ["MAX_INDEX_ROWS", "FrozenNeighbours", "Weighting", "unit_rows"]

Weighting = Literal["uniform", "distance"]
"""Neighbours count alike, or by the inverse of their distance."""

MAX_INDEX_ROWS = 100_000
"""No index may be larger; fitting keeps to far less (a prediction reads the whole index)."""

_WEIGHTINGS: tuple[Weighting, ...] = ("uniform", "distance")
_MIN_DISTANCE = 1e-6
_UNIT_SLACK = 1e-3
_ROWS_AT_ONCE = 256


def unit_rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of `features`, shape (n, D), at unit length; a zero row stays as it is.

    Examples
    --------
    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    array([[0.6, 0.8], [0. , 0. ]], dtype=float32)
    """
    lengths = np.sqrt(np.square(features, dtype=np.float64).sum(axis=1, keepdims=True))
    return (features / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenNeighbours(FrozenRegressor):
    """Mean target of the k indexed vectors that are nearest to z/|z|.

    Parameters
    ----------
    vectors
        The index: unit vectors, shape (N, D). Regressors with the same vectors share one search in a `FrozenBank`.
    targets
        Target of each of them, shape (N,).
    neighbours
        k, between 1 and N.
    weighting
        ``uniform``, or ``distance`` for weights 1/distance; vectors within 1e-6 of z/|z|, if any, then count alone.

    Notes
    -----
    Distances are Euclidean between unit vectors, |u − v|² = 2 − 2uᵀv, so that the order is that of cosines. The
    distances of the k that are kept are computed from differences: 2 − 2uᵀv in float32 has no digits left near 0.
    Which of several vectors at the distance of the k-th is kept is not defined.

    Examples
    --------
    >>> model = FrozenNeighbours(vectors=np.eye(3), targets=np.array([0.0, 0.5, 1.0]), neighbours=2,
    ...                          weighting="uniform")
    >>> model.predict(np.array([[0.1, 2.0, 3.0]]))
    array([0.75], dtype=float32)
    """

    kind: ClassVar[str] = "neighbours"

    vectors: NDArray[np.float32]
    targets: NDArray[np.float32]
    neighbours: int
    weighting: Weighting
    stack_key: tuple[int, bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        vectors = frozen_floats("vectors", self.vectors, axes=2)
        targets = frozen_floats("targets", self.targets, axes=1)
        if len(vectors) > MAX_INDEX_ROWS:
            raise InvalidValueError("vectors", len(vectors), f"at most {MAX_INDEX_ROWS} rows")
        if targets.shape != vectors.shape[:1]:
            raise InvalidValueError("targets", targets.shape, f"an array of shape {vectors.shape[:1]}")
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if ((np.abs(lengths - 1.0) > _UNIT_SLACK) & (lengths > 0)).any():
            raise InvalidValueError("vectors", float(lengths.max()), "of length 1, or zero")
        if not 1 <= self.neighbours <= len(vectors):
            raise InvalidValueError("neighbours", self.neighbours, f"between 1 and {len(vectors)}")
        if self.weighting not in _WEIGHTINGS:
            raise InvalidValueError("weighting", self.weighting, "'uniform' or 'distance'")
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "targets", targets)
        digest = hashlib.sha256(vectors.tobytes()).digest()
        object.__setattr__(self, "stack_key", (vectors.shape[1], digest))

    @property
    def dimension(self) -> int:
        """Length D of the features."""
        return int(self.vectors.shape[1])

    def predict(self, features: FloatArray) -> NDArray[np.float32]:
        """Return the predicted targets, shape (n,), at `features`, shape (n, D)."""
        rows = checked_features(features, self.dimension)
        predicted = _averages(rows, self.vectors, self.targets[:, None], k=self.neighbours, weighting=self.weighting)
        return predicted[:, 0]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``vectors``, ``targets`` and ``settings``: k, and 1 for weights by distance."""
        settings = np.array([self.neighbours, _WEIGHTINGS.index(self.weighting)], np.int32)
        return {"vectors": self.vectors, "targets": self.targets, "settings": settings}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `arrays` gave; raises `StateError` where it is damaged."""
        require_arrays(arrays, ("vectors", "targets", "settings"), kind=cls.kind)
        try:
            settings = frozen_indices("settings", arrays["settings"], axes=1, end=MAX_INDEX_ROWS + 1, length=2)
            return cls(
                vectors=arrays["vectors"],
                targets=arrays["targets"],
                neighbours=int(settings[0]),
                weighting=_weighting(int(settings[1])),
            )
        except InvalidValueError as error:
            raise StateError(f"Frozen neighbours are damaged: {error} Fit them again.") from error

    @classmethod
    def stack(cls, models: Sequence[Self]) -> _NeighboursStack:
        """Return `models`, which have the same vectors, as one index with many targets."""
        return _NeighboursStack(models)


class _NeighboursStack:
    """One search for all LLMs, even where they differ in k and weighting."""

    __slots__ = ("_groups", "_most", "_targets", "_vectors")

    def __init__(self, models: Sequence[FrozenNeighbours]) -> None:
        self._vectors = models[0].vectors
        self._targets = np.stack([model.targets for model in models], axis=1)
        self._most = max(model.neighbours for model in models)
        settings = sorted({(model.neighbours, model.weighting) for model in models})
        self._groups = [
            (
                k,
                how,
                np.array([at for at, model in enumerate(models) if (model.neighbours, model.weighting) == (k, how)]),
            )
            for k, how in settings
        ]

    def predict_rows(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what each of the k regressors predicts at `rows`, shape (n, D); shape (n, k)."""
        predicted = np.empty((len(rows), self._targets.shape[1]), np.float32)
        for k, how, columns in self._groups:
            targets = self._targets[:, columns]
            predicted[:, columns] = _averages(rows, self._vectors, targets, k=k, weighting=how)
        return predicted

    def predict_row(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        unit = unit_rows(row[None, :])[0]
        similarities = self._vectors @ unit
        nearest = _nearest(similarities[None, :], self._most)[0]
        if len(self._groups) > 1:
            nearest = nearest[np.argsort(-similarities[nearest], kind="stable")]
        targets = self._targets[nearest]
        predicted = np.empty(targets.shape[1], np.float32)
        for k, how, columns in self._groups:
            near = targets[:k] if len(columns) == targets.shape[1] else targets[:k, columns]
            if how == "uniform":
                predicted[columns] = near.mean(axis=0)
            else:
                weights = _inverse_distances(self._vectors[nearest[:k]] - unit)
                predicted[columns] = (weights @ near) / weights.sum()
        return predicted


def _averages(
    rows: NDArray[np.float32],
    vectors: NDArray[np.float32],
    targets: NDArray[np.float32],
    *,
    k: int,
    weighting: Weighting,
) -> NDArray[np.float32]:
    """Return the averages of `targets`, shape (N, K), over the k vectors nearest to each row, shape (n, K)."""
    units = unit_rows(rows)
    averages = np.empty((len(units), targets.shape[1]), np.float32)
    for start in range(0, len(units), _ROWS_AT_ONCE):
        part = units[start : start + _ROWS_AT_ONCE]
        nearest = _nearest(part @ vectors.T, k)
        near = targets[nearest]
        if weighting == "uniform":
            averages[start : start + _ROWS_AT_ONCE] = near.mean(axis=1)
        else:
            weights = _inverse_distances(vectors[nearest] - part[:, None, :])[:, :, None]
            averages[start : start + _ROWS_AT_ONCE] = (weights * near).sum(axis=1) / weights.sum(axis=1)
    return averages


def _weighting(code: int) -> Weighting:
    if code >= len(_WEIGHTINGS):
        raise InvalidValueError("settings", code, "0 for uniform weights, or 1 for weights by distance")
    return _WEIGHTINGS[code]


def _nearest(similarities: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    rows = similarities.shape[1]
    if count == rows:
        return np.broadcast_to(np.arange(rows), similarities.shape)
    return np.argpartition(similarities, rows - count, axis=1)[:, rows - count :]


def _inverse_distances(differences: NDArray[np.float32]) -> NDArray[np.float32]:
    distances = np.sqrt(np.square(differences).sum(axis=-1))
    same = distances <= _MIN_DISTANCE
    inverse = 1.0 / np.maximum(distances, np.float32(_MIN_DISTANCE))
    weights: NDArray[np.float32] = np.where(same.any(axis=-1, keepdims=True), same.astype(np.float32), inverse)
    return weights
