"""What competes for an LLM: a way to fit a regressor for every LLM of the pool, under a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.predictors import FrozenBank, FrozenRegressor

__all__ = ["Family", "FitOne", "FittedPool", "PoolRegressor", "per_llm"]


class PoolRegressor(Protocol):
    """A regressor of every LLM's target at once."""

    def predict_rows(self, features: FloatArray) -> FloatArray:
        """Return predictions at `features`, shape (n, D), one column per LLM, shape (n, K); NaN where none is made."""


class Family(Protocol):
    """Fits all LLMs of a pool together, so that a model may share what they have in common."""

    def __call__(
        self, features: FloatArray, targets: NDArray[np.float64], *, rng: np.random.Generator
    ) -> PoolRegressor:
        """Return what is learned from `targets`, shape (n, K), NaN where not known, at `features`, shape (n, D)."""


class FitOne(Protocol):
    """Fits one LLM."""

    def __call__(self, features: FloatArray, targets: FloatArray, *, rng: np.random.Generator) -> FrozenRegressor:
        """Return a regressor of `targets`, shape (n,), NaN where not known, at `features`, shape (n, D)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPool:
    """One frozen regressor per LLM, or none.

    Parameters
    ----------
    models
        In the order of the LLMs; None for an LLM with too little to learn from.
    """

    models: tuple[FrozenRegressor | None, ...]

    def predict_rows(self, features: FloatArray) -> NDArray[np.float64]:
        """Return predictions at `features`, shape (n, D), of shape (n, K); NaN for an LLM without a model."""
        predicted = np.full((len(features), len(self.models)), np.nan)
        columns = [column for column, model in enumerate(self.models) if model is not None]
        if columns:
            bank = FrozenBank(models=[model for model in self.models if model is not None])
            predicted[:, columns] = bank.predict_rows(features)
        return predicted


def per_llm(fit: FitOne, *, min_rows: int = 50) -> Family:
    """Return the family that fits each LLM by itself with `fit`.

    Every LLM is fitted with a generator in the same state: what is drawn does not depend on which other LLMs there
    are, and neighbours of LLMs judged on the same queries share their index.

    Parameters
    ----------
    fit
        Fits one LLM.
    min_rows
        An LLM with fewer known targets gets no model.
    """
    if min_rows < 1:
        raise InvalidValueError("min_rows", min_rows, ">= 1")

    def fit_pool(features: FloatArray, targets: NDArray[np.float64], *, rng: np.random.Generator) -> PoolRegressor:
        return FittedPool(models=fit_columns([fit] * targets.shape[1], features, targets, rng=rng, min_rows=min_rows))

    return fit_pool


def fit_columns(
    fits: Sequence[FitOne | None],
    features: FloatArray,
    targets: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    min_rows: int,
) -> tuple[FrozenRegressor | None, ...]:
    """Fit column l of `targets`, shape (n, K), with ``fits[l]``; None where there is no fit, or too few targets."""
    seed = int(rng.integers(2**63))
    known = (~np.isnan(targets)).sum(axis=0)
    return tuple(
        fit(features, targets[:, column], rng=np.random.default_rng(seed))
        if fit is not None and known[column] >= min_rows
        else None
        for column, fit in enumerate(fits)
    )
