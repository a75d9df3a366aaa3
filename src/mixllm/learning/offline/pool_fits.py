"""Families that fit the LLMs of a pool together: what LLMs asked the same queries share is learned once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.learning.offline.families import (
    MIN_FIT_ROWS,
    ForestParameters,
    KNNParameters,
    MLPParameters,
    fit_knn,
    freeze_forest,
    grown_forest,
    trained_mlps,
)
from mixllm.learning.offline.family import Family, FittedPool
from mixllm.learning.offline.shrinkage import same_rows
from mixllm.predictors import FrozenLinear, FrozenRegressor

__all__ = ["POOL_FAMILIES", "pool_families", "ridge_family"]

_MIN_ROWS = 50
_FOREST = ForestParameters(trees=25, min_leaf=8)
_MLP = MLPParameters(hidden=(48,), epochs=16)
_FOREST_ROWS = 3_000
"""Rows of each tree, at most: it bounds the time."""


class _FitTogether(Protocol):
    def __call__(
        self, features: NDArray[np.float64], targets: NDArray[np.float64], *, rng: np.random.Generator
    ) -> tuple[FrozenRegressor, ...]:
        """Return a regressor of each column of `targets`, shape (n, k), all known, at `features`, shape (n, D)."""


def pool_families(names: tuple[str, ...]) -> dict[str, Family]:
    """Return the families of these names, a name for each member of their small grids.

    Raises
    ------
    InvalidValueError
        Where a name is not one of `POOL_FAMILIES`.
    """
    families: dict[str, Family] = {}
    for name in names:
        if name not in POOL_FAMILIES:
            raise InvalidValueError("families", name, f"out of {', '.join(POOL_FAMILIES)}")
        families |= {member: _together(fit) for member, fit in POOL_FAMILIES[name].items()}
    return families


def ridge_family(*, tags: int, tag_ratio: float, embedding_ratio: float) -> Family:
    """Return ridge regressions, the constant not shrunk: offline, what the Bayesian model of these ratios predicts.

    Parameters
    ----------
    tags
        T, the length of π.
    tag_ratio, embedding_ratio
        Precision of the prior times variance of the noise, of tags and of the other features.
    """
    return _together(partial(_ridges, tags=tags, tag_ratio=tag_ratio, embedding_ratio=embedding_ratio))


def _together(fit: _FitTogether) -> Family:
    def fit_pool(features: FloatArray, targets: NDArray[np.float64], *, rng: np.random.Generator) -> FittedPool:
        seed = int(rng.integers(2**63))
        models: list[FrozenRegressor | None] = [None] * targets.shape[1]
        for columns, known in same_rows(targets):
            if known.sum() < _MIN_ROWS:
                continue
            rows = np.asarray(features)[known].astype(np.float64)
            # Each group has a generator in the same state: other LLMs of the log change nothing for these.
            fitted = fit(rows, targets[known][:, columns], rng=np.random.default_rng(seed))
            for column, model in zip(columns, fitted, strict=True):
                models[column] = model
        return FittedPool(models=tuple(models))

    return fit_pool


def _forests(
    features: NDArray[np.float64], targets: NDArray[np.float64], *, rng: np.random.Generator
) -> tuple[FrozenRegressor, ...]:
    share = min(0.5, _FOREST_ROWS / len(features))
    parameters = ForestParameters(trees=_FOREST.trees, min_leaf=_FOREST.min_leaf, max_samples=share)
    known = targets[:, 0] if targets.shape[1] == 1 else targets
    forest = grown_forest(features, known, rng=rng, parameters=parameters)
    return tuple(freeze_forest(forest, output=column) for column in range(targets.shape[1]))


def _perceptrons(
    features: NDArray[np.float64], targets: NDArray[np.float64], *, rng: np.random.Generator
) -> tuple[FrozenRegressor, ...]:
    return trained_mlps(features, targets, rng=rng, parameters=_MLP)


def _neighbours(
    features: NDArray[np.float64],
    targets: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    parameters: KNNParameters,
) -> tuple[FrozenRegressor, ...]:
    seed = int(rng.integers(2**63))
    return tuple(
        fit_knn(features, column, rng=np.random.default_rng(seed), parameters=parameters) for column in targets.T
    )


def _ridges(
    features: NDArray[np.float64],
    targets: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    tags: int,
    tag_ratio: float,
    embedding_ratio: float,
) -> tuple[FrozenRegressor, ...]:
    del rng
    z = features[:, :-1]
    centre, levels = z.mean(axis=0), targets.mean(axis=0)
    centred = z - centre
    penalty = np.concatenate([np.full(tags, tag_ratio), np.full(z.shape[1] - tags, embedding_ratio)])
    slopes = np.linalg.solve(centred.T @ centred + np.diag(penalty), centred.T @ (targets - levels))
    weights = np.vstack([slopes, levels - centre @ slopes])
    return tuple(FrozenLinear(weights=column) for column in weights.T)


POOL_FAMILIES: dict[str, dict[str, Callable[..., tuple[FrozenRegressor, ...]]]] = {
    "forest": {"forest": _forests},
    "mlp": {"mlp": _perceptrons},
    "knn": {
        "knn-20": partial(_neighbours, parameters=KNNParameters(neighbours=20, weighting="distance")),
        "knn-80": partial(_neighbours, parameters=KNNParameters(neighbours=80)),
    },
}
"""The members of each family's grid, by the family's name."""

assert _MIN_ROWS >= MIN_FIT_ROWS
