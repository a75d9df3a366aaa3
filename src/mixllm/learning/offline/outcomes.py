"""Outcomes that are known, with what belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray

__all__ = ["inside_unit", "known_rows", "llm_columns", "normal_quantile"]


def known_rows(name: str, values: FloatArray, **beside: FloatArray) -> tuple[NDArray[np.float64], ...]:
    """Return the arrays of `beside` and then `values`, all shape (n,), without the rows whose value is NaN."""
    wanted = np.asarray(values, np.float64)
    known = ~np.isnan(wanted)
    if wanted.ndim != 1 or not known.any():
        raise InvalidValueError(name, wanted.shape, "an array of shape (n,) with at least one known number")
    arrays = {other: np.asarray(array, np.float64) for other, array in beside.items()}
    for other, array in arrays.items():
        if array.shape != wanted.shape:
            raise InvalidValueError(other, array.shape, f"an array of shape {wanted.shape}")
    kept = {other: array[known] for other, array in {**arrays, name: wanted}.items()}
    for other, array in kept.items():
        if not np.isfinite(array).all():
            raise InvalidValueError(other, "a number that is not finite", "finite where the outcome is known")
    return tuple(kept.values())


def llm_columns(name: str, values: FloatArray, llms: Sequence[str]) -> NDArray[np.float64]:
    """Return `values`, shape (n, K), as float64, or raise `InvalidValueError` where it has not one column per LLM."""
    outcomes = np.asarray(values, np.float64)
    if outcomes.ndim != 2 or outcomes.shape[1] != len(llms):
        raise InvalidValueError(name, outcomes.shape, f"an array of shape (n, {len(llms)})")
    return outcomes


def normal_quantile(level: float) -> float:
    """Return z such that ±z holds `level` of a standard normal variable."""
    return NormalDist().inv_cdf((1.0 + inside_unit("level", level)) / 2.0)


def inside_unit(name: str, value: float) -> float:
    """Return `value`, or raise `InvalidValueError` where it is not above 0 and below 1."""
    if not 0.0 < value < 1.0:
        raise InvalidValueError(name, value, "above 0 and below 1")
    return value
