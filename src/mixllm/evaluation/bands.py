"""What one router gains over another, by how much is spent: the form of the paper's second table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from mixllm.errors import InvalidValueError
from mixllm.evaluation.frontier import Frontier

__all__ = ["BANDS", "BandGain", "band_gains"]

BANDS = ((0.0, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.4), (0.4, 0.7), (0.7, 1.0))
"""Bands of cost, as shares of the reference LLM's."""

_POINTS = 50


class BandGain(msgspec.Struct, frozen=True, kw_only=True):
    """The gain in one band.

    Parameters
    ----------
    low, high
        The band's costs.
    gain
        Mean over splits of the mean of q₁(c) / q₂(c) − 1 over the band's costs c; None where a frontier has not begun
        there in some split.
    se
        Its standard error; None where `gain` is, and for a single split.
    """

    low: float
    high: float
    gain: float | None
    se: float | None


def band_gains(
    ours: Sequence[Frontier], theirs: Sequence[Frontier], *, bands: Sequence[tuple[float, float]] = BANDS
) -> list[BandGain]:
    """Return the relative gain in quality of one router over another, band by band.

    Parameters
    ----------
    ours, theirs
        Frontiers of the two on the same splits.
    bands
        Costs from low to high.

    Raises
    ------
    InvalidValueError
        Where the numbers of frontiers differ, or there is none.
    """
    if not ours or len(ours) != len(theirs):
        raise InvalidValueError("theirs", f"{len(theirs)} frontiers", f"as many as ours ({len(ours)}), one or more")
    return [_gain(ours, theirs, low, high) for low, high in bands]


def _gain(ours: Sequence[Frontier], theirs: Sequence[Frontier], low: float, high: float) -> BandGain:
    gains: list[float] = []
    for one, other in zip(ours, theirs, strict=True):
        begin = max(low, float(one.cost[0]), float(other.cost[0]))
        if begin >= high:
            return BandGain(low=low, high=high, gain=None, se=None)
        costs = np.linspace(begin, high, _POINTS)
        ratio = np.interp(costs, one.cost, one.quality) / np.interp(costs, other.cost, other.quality)
        gains.append(float(ratio.mean()) - 1.0)
    error = float(np.std(gains, ddof=1)) / math.sqrt(len(gains)) if len(gains) > 1 else None
    return BandGain(
        low=low, high=high, gain=round(float(np.mean(gains)), 6), se=None if error is None else round(error, 6)
    )
