"""From predictions to what a router gets for its money: the sweep over trade-offs, and its upper hull."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixllm.errors import InvalidValueError
from mixllm.evaluation.contender import Predictions

__all__ = ["TRADE_OFFS", "Frontier", "Sweep", "choose", "sweep", "upper_hull"]

TRADE_OFFS: NDArray[np.float64] = np.concatenate([[0.0], np.logspace(-4.0, 4.0, 400), [np.inf]])
"""The trade-offs v of every sweep: 0 is cost alone, infinity is quality alone."""

_BLOCK = 16  # trade-offs at a time: large enough to hide the calls, small enough for the processor's cache


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """What a router got at each trade-off.

    Parameters
    ----------
    trade_offs
        The trade-offs v, shape (V,).
    quality, cost
        Recorded means of what it chose, as shares of the reference LLM's, shape (V,).
    """

    trade_offs: NDArray[np.float64]
    quality: NDArray[np.float64]
    cost: NDArray[np.float64]

    def hull(self) -> Frontier:
        """Return the frontier of the points."""
        return upper_hull(self.cost, self.quality)

    def trade_off_for(self, quality: float) -> float:
        """Return the trade-off of least cost that reaches `quality`; where none does, that of the highest quality."""
        reached = np.flatnonzero(self.quality >= quality)
        if reached.size == 0:
            reached = np.flatnonzero(self.quality == self.quality.max())
        return float(self.trade_offs[reached[np.argmin(self.cost[reached])]])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frontier:
    """A non-decreasing, concave line of quality over cost.

    Between two corners a router mixes the two at random. Left of the first corner nothing can be had; right of the
    last the quality stays.

    Parameters
    ----------
    cost, quality
        Its corners, both rising, shape (C,).

    Examples
    --------
    >>> frontier = upper_hull([0.1, 0.5, 1.0], [0.6, 0.7, 1.0])
    >>> frontier.cost.tolist(), round(frontier.cost_at(0.8), 3), frontier.cost_at(1.1)
    ([0.1, 1.0], 0.55, None)
    """

    cost: NDArray[np.float64]
    quality: NDArray[np.float64]

    def cost_at(self, quality: float) -> float | None:
        """Return the least cost of this quality, or None where it is not reached."""
        if quality > self.quality[-1]:
            return None
        return float(np.interp(quality, self.quality, self.cost))

    def quality_at(self, cost: float) -> float | None:
        """Return the best quality for this cost, or None where nothing is as cheap."""
        if cost < self.cost[0]:
            return None
        return float(np.interp(cost, self.cost, self.quality))

    def area(self, cheapest: float, dearest: float) -> float:
        """Return the mean quality over costs from `cheapest` to `dearest`: RouterBench's AIQ.

        Left of its first corner a frontier goes straight to (0, 0), the router that answers nothing for nothing; right
        of its last it stays flat.

        Raises
        ------
        InvalidValueError
            Where `dearest` is not above `cheapest`.
        """
        if not dearest > cheapest:
            raise InvalidValueError("dearest", dearest, f"above cheapest ({cheapest})")
        cost, quality = self.with_origin()
        inside = cost[(cost > cheapest) & (cost < dearest)]
        at = np.concatenate([[cheapest], inside, [dearest]])
        return float(np.trapezoid(np.interp(at, cost, quality), at) / (dearest - cheapest))

    def with_origin(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the corners with (0, 0) before them, which nothing for nothing adds."""
        return np.concatenate([[0.0], self.cost]), np.concatenate([[0.0], self.quality])


def upper_hull(cost: ArrayLike, quality: ArrayLike) -> Frontier:
    """Return the non-decreasing upper convex hull of points.

    Parameters
    ----------
    cost, quality
        The points, finite, shape (P,), P >= 1.

    Raises
    ------
    InvalidValueError
        Where there is no point, or the shapes differ, or a value is not finite.
    """
    costs, qualities = np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if costs.ndim != 1 or costs.shape != qualities.shape or costs.size == 0:
        raise InvalidValueError("quality", f"shape {qualities.shape}", f"of cost's shape (P,), {costs.shape}, P >= 1")
    if not (np.isfinite(costs).all() and np.isfinite(qualities).all()):
        raise InvalidValueError("cost", "a point that is not finite", "finite, as quality")
    corners: list[tuple[float, float]] = []
    best = -np.inf
    order = np.lexsort((-qualities, costs))
    for x, y in zip(costs[order].tolist(), qualities[order].tolist(), strict=True):
        if y <= best:
            continue  # dearer and no better
        best = y
        while len(corners) > 1 and _below(corners[-2], corners[-1], (x, y)):
            corners.pop()
        corners.append((x, y))
    array = np.array(corners)
    return Frontier(cost=array[:, 0].copy(), quality=array[:, 1].copy())


def choose(predictions: Predictions, *, trade_off: float, cost_unit: float) -> NDArray[np.intp]:
    """Return the LLM of each query that has the highest v·q̂ − ĉ/c_ref, shape (m,).

    Parameters
    ----------
    predictions
        Of m queries at K LLMs.
    trade_off
        v >= 0; at 0 the cheapest is chosen, at infinity the best; of equals the better one, or the cheaper.
    cost_unit
        c_ref in dollars, > 0.
    """
    _check_unit(cost_unit)
    quality, cost = predictions.quality, predictions.cost_usd / cost_unit
    if trade_off == 0.0:
        main, tie = -cost, quality
    elif np.isinf(trade_off):
        main, tie = quality, -cost
    else:
        main, tie = trade_off * quality - cost, -cost
    best = main == main.max(axis=1, keepdims=True)
    return np.asarray(np.where(best, tie, -np.inf).argmax(axis=1))


def sweep(
    predictions: Predictions,
    *,
    quality: NDArray[np.float64],
    cost_usd: NDArray[np.float64],
    reference: int,
    cost_unit: float,
    trade_offs: NDArray[np.float64] = TRADE_OFFS,
) -> Sweep:
    """Choose by predictions at every trade-off, and count what was recorded.

    Parameters
    ----------
    predictions
        Of m queries at K LLMs; they alone decide.
    quality, cost_usd
        What was recorded, shape (m, K).
    reference
        Column of the LLM whose recorded means are 1.
    cost_unit
        c_ref in dollars: a scale of v, known before the queries come.
    trade_offs
        The trade-offs v, >= 0, rising.

    Raises
    ------
    InvalidValueError
        Where shapes differ, or the reference's mean quality or cost is 0.
    """
    if quality.shape != predictions.quality.shape or cost_usd.shape != quality.shape:
        raise InvalidValueError("quality", f"shape {quality.shape}", f"of shape {predictions.quality.shape}")
    _check_unit(cost_unit)
    unit_quality, unit_cost = float(quality[:, reference].mean()), float(cost_usd[:, reference].mean())
    if unit_quality <= 0 or unit_cost <= 0:
        raise InvalidValueError("reference", reference, "an LLM whose recorded quality and cost are above 0 on average")
    gains, costs = np.empty(trade_offs.size), np.empty(trade_offs.size)
    inner = np.flatnonzero((trade_offs > 0) & np.isfinite(trade_offs))
    ends = np.setdiff1d(np.arange(trade_offs.size), inner)
    rows = np.arange(quality.shape[0])
    for end in ends.tolist():
        chosen = choose(predictions, trade_off=float(trade_offs[end]), cost_unit=cost_unit)
        gains[end], costs[end] = quality[rows, chosen].mean(), cost_usd[rows, chosen].mean()
    hoped = np.ascontiguousarray(predictions.quality.T, dtype=np.float64)
    feared = np.ascontiguousarray(predictions.cost_usd.T, dtype=np.float64) / cost_unit
    found = np.ascontiguousarray(quality.T), np.ascontiguousarray(cost_usd.T)
    for start in range(0, inner.size, _BLOCK):
        block = inner[start : start + _BLOCK]
        gains[block], costs[block] = _count(trade_offs[block, None], hoped, feared, found)
    return Sweep(trade_offs=trade_offs, quality=gains / unit_quality, cost=costs / unit_cost)


def _count(
    values: NDArray[np.float64],
    hoped: NDArray[np.float64],
    feared: NDArray[np.float64],
    found: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # A running maximum over the LLMs, all arrays (trade-offs, queries): three times as fast as argmax over short rows.
    qualities, costs = found
    best = values * hoped[0] - feared[0]
    chosen = np.zeros(best.shape, dtype=np.intp)
    for llm in range(1, hoped.shape[0]):
        score = values * hoped[llm] - feared[llm]
        better = score > best
        np.copyto(best, score, where=better)
        np.copyto(chosen, llm, where=better)
    columns = np.arange(hoped.shape[1])
    return qualities[chosen, columns].mean(axis=1), costs[chosen, columns].mean(axis=1)


def _below(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Tell whether `middle` is on or below the line from `left` to `right`."""
    return (middle[1] - left[1]) * (right[0] - left[0]) <= (right[1] - left[1]) * (middle[0] - left[0])


def _check_unit(cost_unit: float) -> None:
    if not cost_unit > 0 or not np.isfinite(cost_unit):
        raise InvalidValueError("cost_unit", cost_unit, "above 0 and finite")
