"""Requests and tokens of the last minute, against an endpoint's rate limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mixllm.types import Hold, LLMSpec

__all__ = ["CELLS", "COLUMNS", "RateWindow", "rate_hold", "rate_holds"]

_WINDOW_S: Final = 60
CELLS: Final = 64
"""Seconds that are told apart: more than a minute, so that none is used again while it counts."""

_SECOND, _REQUESTS, _TOKENS = range(3)
COLUMNS: Final = 3


class RateWindow:
    """Counts requests and tokens by the second; not thread-safe.

    Attributes
    ----------
    cells
        The second, its requests and its tokens, shape (`CELLS`, `COLUMNS`).
    """

    __slots__ = ("cells",)

    def __init__(self) -> None:
        self.cells: NDArray[np.float64] = np.zeros((CELLS, COLUMNS))

    def count(self, at_s: float, tokens: float) -> int:
        """Count a request with so many tokens at a time on the monotonic clock; return the place of its cell."""
        second = math.floor(at_s)
        place = second % CELLS
        cell = self.cells[place]
        if cell[_SECOND] != second:
            cell[:] = (second, 0.0, 0.0)
        cell[_REQUESTS] += 1.0
        cell[_TOKENS] += tokens
        return place

    def settle(self, at_s: float, tokens: float) -> int | None:
        """Add `tokens`, which may be negative, to what was counted at `at_s`; return the place of its cell.

        None where that is so long ago that it does not count any more.
        """
        second = math.floor(at_s)
        place = second % CELLS
        cell = self.cells[place]
        if cell[_SECOND] != second:
            return None
        cell[_TOKENS] = max(0.0, cell[_TOKENS] + tokens)
        return place


def rate_holds(
    specs: Sequence[LLMSpec], cells: NDArray[np.float64], *, now_s: float, tokens: float
) -> list[Hold | None]:
    """Return `rate_hold` of every LLM, quickly where none is held; `cells` has the shape (K, n, `COLUMNS`)."""
    counts = _counting(cells[..., _SECOND], now_s)
    requests = np.where(counts, cells[..., _REQUESTS], 0.0).sum(axis=1).tolist()
    used = np.where(counts, cells[..., _TOKENS], 0.0).sum(axis=1).tolist()
    return [
        rate_hold(spec, cells[row], now_s=now_s, tokens=tokens)
        if _above(spec.requests_per_minute, requests[row] + 1.0) or _above(spec.tokens_per_minute, used[row] + tokens)
        else None
        for row, spec in enumerate(specs)
    ]


def rate_hold(spec: LLMSpec, cells: NDArray[np.float64], *, now_s: float, tokens: float) -> Hold | None:
    """Return why the rate limits of `spec` let no call with a prompt of `tokens` pass now; None where they do.

    Parameters
    ----------
    spec
        The LLM, with its limits.
    cells
        What `RateWindow.cells` holds, one after the other for each process that calls the LLM, shape (n, `COLUMNS`).
    now_s
        The time on the monotonic clock.
    tokens
        Of the prompt.

    Notes
    -----
    A second counts until all of it is 60 s ago, so in no 60 s are there more requests than the limit. The answer's
    tokens are not asked for beforehand: what calls use beyond the limit of tokens is at most what one answer is longer.
    """
    for kind, limit, needed, column in (
        ("requests", spec.requests_per_minute, 1.0, _REQUESTS),
        ("tokens", spec.tokens_per_minute, tokens, _TOKENS),
    ):
        if limit is None:
            continue
        if needed > limit:
            return Hold(
                wait_s=math.inf, reason=f"rate limit of {limit} {kind}/min is below the {needed:.0f} of this call"
            )
        wait_s = _free_in_s(cells, column, now_s=now_s, allowed=limit - needed)
        if wait_s > 0:
            return Hold(wait_s=wait_s, reason=f"rate limit of {limit} {kind}/min is used up, free in {wait_s:.1f} s")
    return None


def _free_in_s(cells: NDArray[np.float64], column: int, *, now_s: float, allowed: float) -> float:
    """Return the time until no more than `allowed` is used, 0 where that is so now."""
    ends_s = cells[:, _SECOND] + (_WINDOW_S + 1)
    counts = _counting(cells[:, _SECOND], now_s)
    used = cells[counts, column]
    excess = float(used.sum()) - allowed
    if excess <= 0:
        return 0.0
    ends_s = ends_s[counts]
    order = ends_s.argsort()
    freed = used[order].cumsum()
    place = min(int(freed.searchsorted(excess - 1e-9)), len(freed) - 1)
    return float(ends_s[order[place]]) - now_s


def _counting(seconds: NDArray[np.float64], now_s: float) -> NDArray[np.bool_]:
    """Return which seconds count; what lies in the future was written by nobody who means well."""
    return np.logical_and(seconds > now_s - (_WINDOW_S + 1), seconds <= now_s)


def _above(limit: int | None, needed: float) -> bool:
    return limit is not None and needed > limit
