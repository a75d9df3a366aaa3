"""Curves of seeds as one: mean and standard error at the same points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

__all__ = ["SeedCurve", "mean_curve"]


class SeedCurve(msgspec.Struct, frozen=True, kw_only=True):
    """A cumulative sum along the stream, averaged over seeds.

    Parameters
    ----------
    mean
        At each point.
    se
        Standard error of the mean over seeds; 0 for a single seed.
    """

    mean: list[float]
    se: list[float]


def mean_curve(curves: Sequence[Sequence[float]]) -> SeedCurve:
    """Return the mean of curves of the same length.

    Examples
    --------
    >>> mean_curve([[1.0, 2.0], [3.0, 4.0]])
    SeedCurve(mean=[2.0, 3.0], se=[1.0, 1.0])
    """
    values = np.array(curves, np.float64)
    count = len(values)
    error = values.std(axis=0, ddof=1) / math.sqrt(count) if count > 1 else np.zeros(values.shape[1])
    return SeedCurve(mean=values.mean(axis=0).round(6).tolist(), se=error.round(6).tolist())
