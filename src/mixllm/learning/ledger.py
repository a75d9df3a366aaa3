"""What the LLMs cost: their prices, now and before, and what their calls came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import StateError
from mixllm.learning.price_history import PriceHistory, decided_at_s
from mixllm.types import LLMSpec, Price

__all__ = ["Ledger"]

_MAX_NUMBER = 1e40


class Ledger:
    """Prices and spending of every LLM that is or was in the pool; reading needs no lock, writing does.

    Examples
    --------
    >>> ledger = Ledger()
    >>> ledger.spend("small", 0.002)
    >>> ledger.spent_usd("small"), ledger.spent_usd("large"), ledger.price("small") is None
    (0.002, 0.0, True)
    """

    def __init__(self) -> None:
        self._prices: dict[str, PriceHistory] = {}
        self._spent_usd: dict[str, float] = {}
        self.newest_event_s = 0.0

    def price(self, llm: str, *, decision_id: str | None = None) -> Price | None:
        """Return what an LLM costs, or cost when `decision_id` was decided; None where it never had a price."""
        history = self._prices.get(llm)
        if history is None:
            return None
        if decision_id is None or history.constant:
            return history.now
        return history.at(decided_at_s(decision_id))

    def reprice(self, spec: LLMSpec, price: Price, *, since_s: float | None) -> None:
        """Let `price` hold for an LLM since a Unix time; None: since the newest event."""
        history = self._prices.setdefault(spec.name, PriceHistory(price=price))
        history.change(price, since_s=self.newest_event_s if since_s is None else since_s)

    def spend(self, llm: str, cost_usd: float) -> None:
        """Add what a call cost."""
        self._spent_usd[llm] = self.spent_usd(llm) + cost_usd

    def spent_usd(self, llm: str) -> float:
        """Return what the calls of an LLM have cost so far."""
        return self._spent_usd.get(llm, 0.0)

    def state(self, llms: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Return the prices and spending of `llms`, ready to be saved, each array's name begun by the LLM's place."""
        arrays = {"newest_event_s": np.array([self.newest_event_s])}
        for row, llm in enumerate(llms):
            arrays[f"{row}.spent_usd"] = np.array([self.spent_usd(llm)])
            if llm in self._prices:
                arrays[f"{row}.prices"] = self._prices[llm].state()
        return arrays

    def restored(self, llms: Sequence[str], arrays: Mapping[str, NDArray[np.float64]]) -> Ledger:
        """Return a ledger with what `state` gave, or less where it is older, and the newest prices of this one.

        Raises
        ------
        StateError
            Where an array is damaged.
        """
        ledger = Ledger()
        ledger.newest_event_s = _number(arrays, "newest_event_s")
        for row, llm in enumerate(llms):
            ledger._spent_usd[llm] = _number(arrays, f"{row}.spent_usd")
            if f"{row}.prices" in arrays:
                ledger._prices[llm] = PriceHistory.from_state(arrays[f"{row}.prices"])
        for llm, history in self._prices.items():
            # Prices may have been edited between two runs, or changed after the checkpoint.
            if llm in ledger._prices:
                since_s = ledger.newest_event_s if history.since_s is None else history.since_s
                ledger._prices[llm].change(history.now, since_s=since_s)
            else:
                ledger._prices[llm] = history
        return ledger


def _number(arrays: Mapping[str, NDArray[np.float64]], name: str) -> float:
    array = arrays.get(name, np.zeros(1))
    if array.shape != (1,) or not 0 <= float(array[0]) < _MAX_NUMBER:
        raise StateError(f"The checkpoint's {name} is damaged. Load another checkpoint.")
    return float(array[0])
