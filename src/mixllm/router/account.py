"""One budget: what is left of it, and what it makes of the weight of cost."""

from __future__ import annotations

import math

from mixllm.decision import Arrivals, Pacer
from mixllm.router.ledger import Ledger
from mixllm.types import Value

__all__ = ["Account", "AccountStatus"]

_FRESH_S = 1.0
"""How long the expected number of arrivals holds, less those that came."""


class AccountStatus(Value, frozen=True, kw_only=True):
    """Where one budget stands.

    Parameters
    ----------
    limit_usd, spent_usd, reserved_usd, remaining_usd
        The budget of a period, what was measured, what calls under way are expected to cost, and what is left beside
        both, >= 0.
    cost_weight
        1+μ: how many times as much cost counts; λ is divided by it.
    out_of_reach
        Whether even the cheapest LLMs cost more than the budget's pace allows.
    refused
        Requests refused since the start because it was spent.
    """

    limit_usd: float
    spent_usd: float
    reserved_usd: float
    remaining_usd: float
    cost_weight: float
    out_of_reach: bool
    refused: int


class Account:
    """A limit in a period, on everything or on one key. Not thread-safe.

    Parameters
    ----------
    limit_usd
        Its budget.
    key_id
        Whose spending counts; None: everybody's.
    ledger
        Knows what was spent.
    pacer, arrivals
        Its own.
    """

    def __init__(
        self, *, limit_usd: float, key_id: str | None, ledger: Ledger, pacer: Pacer, arrivals: Arrivals
    ) -> None:
        self.limit_usd = limit_usd
        self.key_id = key_id
        self.ledger = ledger
        self.pacer = pacer
        self.arrivals = arrivals
        self.reserved_usd = 0.0
        self.refused = 0
        self._to_come = 0.0
        self._worked_out = (math.nan, math.nan)

    @property
    def spent_usd(self) -> float:
        """What the period has cost, as measured."""
        return self.ledger.total_usd if self.key_id is None else self.ledger.of_usd(self.key_id)

    @property
    def left_usd(self) -> float:
        """What is left beside what was spent and what is reserved; below 0 where calls cost more than was expected."""
        return self.limit_usd - self.spent_usd - self.reserved_usd

    def reserve(self, usd: float, now_s: float) -> None:
        """Set `usd` aside for a call that was decided on now."""
        self.reserved_usd += usd
        self.meet(usd, now_s)

    def reserve_more(self, usd: float, now_s: float) -> None:
        """Set aside `usd` for one more call for a request that was met before."""
        self.reserved_usd += usd
        self.pacer.corrected(usd, target_usd=self._target_usd(now_s))

    def meet(self, usd: float, now_s: float) -> None:
        """Take note of a call that costs `usd`, as expected or as measured."""
        self.arrivals.count(now_s)
        self._to_come -= 1.0
        self.pacer.decided(usd, target_usd=self._target_usd(now_s))

    def settle(self, reserved_usd: float, measured_usd: float, now_s: float) -> None:
        """End a reservation, or one of nothing, now that the ledger has charged what was measured."""
        self.reserved_usd = max(0.0, self.reserved_usd - reserved_usd)
        self.pacer.corrected(measured_usd - reserved_usd, target_usd=self._target_usd(now_s))

    def status(self) -> AccountStatus:
        """Return where it stands."""
        return AccountStatus(
            limit_usd=self.limit_usd,
            spent_usd=self.spent_usd,
            reserved_usd=self.reserved_usd,
            remaining_usd=max(0.0, self.left_usd),
            cost_weight=self.pacer.cost_weight,
            out_of_reach=self.pacer.out_of_reach,
            refused=self.refused,
        )

    def _target_usd(self, now_s: float) -> float:
        """Return ρ: what is left, shared among the requests that are still expected in the period."""
        at_s, end_s = self._worked_out
        if not (end_s == self.ledger.end_s and 0.0 <= now_s - at_s < _FRESH_S):
            # Not at every call: it takes longer than all the rest.
            self._worked_out = (now_s, self.ledger.end_s)
            self._to_come = self.arrivals.expected(now_s, self.ledger.end_s)
        return max(0.0, self.left_usd) / max(1.0, self._to_come)
