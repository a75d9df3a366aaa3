"""What LLMs cost when: calls are billed at the price of the time when they were decided."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import StateError
from mixllm.types import Price

__all__ = ["PriceHistory", "decided_at_s"]

_KEPT = 8
_NONE = -1.0
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def decided_at_s(decision_id: str) -> float | None:
    """Return the Unix time that is in a decision's id, to the millisecond; None where it is no id of a router.

    Examples
    --------
    >>> decided_at_s("00000000-03e8-7aaa-8bbb-cccccccccccc"), decided_at_s("mine")
    (1.0, None)
    """
    if not _UUID7.fullmatch(decision_id):
        return None
    return int(decision_id[:8] + decision_id[9:13], 16) / 1000.0


class PriceHistory:
    """The newest prices of one LLM, each with the time since which it holds; at most eight.

    Parameters
    ----------
    price
        Its first price; it holds for all times before any other.

    Examples
    --------
    >>> cheap, dear = (Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd) for usd in (1, 9))
    >>> history = PriceHistory(price=dear)
    >>> history.change(cheap, since_s=100.0)
    >>> history.now == cheap, history.at(99.0) == dear, history.at(None) == cheap
    (True, True, True)
    """

    def __init__(self, *, price: Price) -> None:
        # Replaced as a whole, never changed: requests read it while the pool changes.
        self._prices: tuple[tuple[float, Price], ...] = ((-math.inf, price),)

    @property
    def now(self) -> Price:
        """The newest price."""
        return self._prices[-1][1]

    @property
    def since_s(self) -> float | None:
        """Unix time since which the newest price holds; None: since ever."""
        since_s = self._prices[-1][0]
        return None if math.isinf(since_s) else since_s

    @property
    def constant(self) -> bool:
        """Whether there has been one price only, so that the time does not matter."""
        return len(self._prices) == 1

    def at(self, time_s: float | None) -> Price:
        """Return the price at a Unix time; None takes the newest."""
        prices = self._prices
        if time_s is None:
            return prices[-1][1]
        return next((price for since_s, price in reversed(prices) if since_s <= time_s), prices[0][1])

    def change(self, price: Price, *, since_s: float) -> None:
        """Let another price hold from `since_s` on; the same price again changes nothing."""
        if price == self.now:
            return
        # Times in ids of decisions are whole milliseconds.
        since_s = max(math.floor(since_s * 1000.0) / 1000.0, self._prices[-1][0])
        self._keep((*self._prices, (since_s, price)))

    def state(self) -> NDArray[np.float64]:
        """Return the prices, oldest first, shape (n, 5): since when, then USD for in, out, cached, reasoning tokens.

        The first holds since ever, which is -1, as is a price that is not set apart.
        """
        rows = [
            (
                max(since_s, _NONE),
                price.usd_per_million_tokens_in,
                price.usd_per_million_tokens_out,
                _or_none(price.usd_per_million_tokens_cached_in),
                _or_none(price.usd_per_million_tokens_reasoning),
            )
            for since_s, price in self._prices
        ]
        return np.array(rows, np.float64)

    @classmethod
    def from_state(cls, state: NDArray[np.float64]) -> PriceHistory:
        """Return what `state` gave; raises `StateError` where it is damaged."""
        numbers = state[:, 1:] if state.ndim == 2 else state
        if state.ndim != 2 or state.shape[1] != 5 or not len(state) or not _in_range(numbers) or np.isnan(state).any():
            raise StateError("The checkpoint's prices are damaged. Load another checkpoint.")
        prices = [(float(row[0]), _price(row[1:])) for row in state.astype(np.float64)]
        history = cls(price=prices[0][1])
        history._keep(prices)
        return history

    def _keep(self, prices: Iterable[tuple[float, Price]]) -> None:
        newest = tuple(prices)[-_KEPT:]
        self._prices = ((-math.inf, newest[0][1]), *newest[1:])


def _in_range(numbers: NDArray[np.float64]) -> bool:
    known = (numbers >= 0) & (numbers < np.inf)
    return bool(known[:, :2].all() and (known | (numbers == _NONE)).all())


def _price(row: NDArray[np.float64]) -> Price:
    tokens_in, tokens_out, cached, reasoning = row.tolist()
    return Price(
        usd_per_million_tokens_in=tokens_in,
        usd_per_million_tokens_out=tokens_out,
        usd_per_million_tokens_cached_in=None if cached == _NONE else cached,
        usd_per_million_tokens_reasoning=None if reasoning == _NONE else reasoning,
    )


def _or_none(price: float | None) -> float:
    return _NONE if price is None else price
