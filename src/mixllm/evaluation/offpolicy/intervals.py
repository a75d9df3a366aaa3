"""How sure an estimate is: by the normal distribution, or by the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.evaluation.offpolicy.estimators import Ratio

__all__ = ["checked_level", "normal_interval", "percentile_interval", "resampled", "standard_error"]


def standard_error(influence: NDArray[np.float64]) -> float:
    """Return the standard error of an estimate, or of a difference of two, from its influences, shape (n,)."""
    n = len(influence)
    return float(np.sqrt(influence @ influence / (n * max(1, n - 1))))


def normal_interval(value: float, std_error: float, *, level: float) -> tuple[float, float]:
    """Return value ∓ z·SE, the interval that covers the truth with probability `level` where n is large.

    Examples
    --------
    >>> low, high = normal_interval(1.0, 0.1, level=0.95)
    >>> round(low, 3), round(high, 3)
    (0.804, 1.196)
    """
    reach = NormalDist().inv_cdf(0.5 + checked_level(level) / 2) * std_error
    return value - reach, value + reach


def resampled(ratios: Sequence[Ratio], *, replicates: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the estimates on `replicates` resamples of the decisions, shape (replicates, len(ratios)).

    All estimates see the same resamples, so that differences of columns are paired (Efron 1979).
    """
    if replicates < 1:
        raise InvalidValueError("replicates", replicates, ">= 1")
    if not ratios:
        return np.empty((replicates, 0))
    tops = np.column_stack([ratio.numerator for ratio in ratios])
    bottoms = np.column_stack([ratio.denominator for ratio in ratios])
    n = len(tops)
    values = np.empty((replicates, len(ratios)))
    for row in range(replicates):
        counts = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):  # A resample may miss every seen reward.
            values[row] = (counts @ tops) / (counts @ bottoms)
    return values


def percentile_interval(values: NDArray[np.float64], *, level: float) -> tuple[float, float]:
    """Return the middle `level` of resampled estimates, shape (replicates,); those that are not finite are left out.

    Examples
    --------
    >>> percentile_interval(np.arange(101.0), level=0.5)
    (25.0, 75.0)
    """
    tail = (1.0 - checked_level(level)) / 2
    finite = values[np.isfinite(values)]
    if not len(finite):
        return math.nan, math.nan
    low, high = np.quantile(finite, (tail, 1.0 - tail))
    return float(low), float(high)


def checked_level(level: float) -> float:
    """Return `level` where it is above 0 and below 1; raises `InvalidValueError`."""
    if not 0 < level < 1:
        raise InvalidValueError("level", level, "above 0 and below 1")
    return level
