"""How far measured times lie from expected ones: a decaying histogram of standardised log ratios."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["RATIO_BINS", "normal_prior", "quantiles", "ratio_bin"]

_LIMIT = 6.0
_WIDTH = 0.2
RATIO_BINS = round(2 * _LIMIT / _WIDTH)
"""Bins from −6 to 6 standard deviations; what lies outside counts in the outermost."""

_EDGES = np.linspace(-_LIMIT, _LIMIT, RATIO_BINS + 1)


def ratio_bin(standardised: float) -> int:
    """Return the bin of a standardised log ratio.

    Examples
    --------
    >>> ratio_bin(0.1), ratio_bin(-99.0), ratio_bin(99.0)
    (30, 0, 59)
    """
    return min(RATIO_BINS - 1, max(0, int((standardised + _LIMIT) / _WIDTH)))


def normal_prior(calls: float) -> NDArray[np.float64]:
    """Return the counts that `calls` calls would have if log ratios were normal; shape (`RATIO_BINS`,)."""
    middles = (_EDGES[:-1] + _EDGES[1:]) / 2
    density = np.exp(-(middles**2) / 2)
    return np.asarray(calls * density / density.sum(), np.float64)


def quantiles(counts: NDArray[np.float64], probabilities: Sequence[float]) -> NDArray[np.float64]:
    """Return the quantiles of standardised log ratios with these counts, each bin filled evenly.

    Parameters
    ----------
    counts
        Shape (`RATIO_BINS`,), not all 0.
    probabilities
        Each in (0, 1).

    Examples
    --------
    >>> quantiles(normal_prior(1.0), [0.05, 0.5, 0.95]).round(1).tolist()
    [-1.6, 0.0, 1.6]
    """
    cumulative = np.concatenate([[0.0], np.cumsum(counts)])
    return np.asarray(np.interp(np.asarray(probabilities) * cumulative[-1], cumulative, _EDGES), np.float64)
