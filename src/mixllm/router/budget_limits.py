"""What may be spent: budgets of a period, caps on a request, in all and by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mixllm.decision import Period
from mixllm.errors import InvalidValueError
from mixllm.units import positive

__all__ = ["BudgetLimits", "KeyLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """Limits of one key: USD a period, and USD a request; None: none of its own."""

    usd: float | None = None
    max_request_usd: float | None = None

    def __post_init__(self) -> None:
        for name in ("usd", "max_request_usd"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """What may be spent.

    Parameters
    ----------
    period
        What `usd`, `each_key_usd` and the keys' own budgets are for.
    usd
        Budget of all requests together; None: not limited.
    each_key_usd
        Budget of each key that has none of its own.
    max_request_usd
        No LLM whose forecast cost is above this may take a request.
    keys
        Limits of single keys, by their names (see `mixllm.types.Query`).
    when_spent
        ``refuse`` requests, or take the ``cheapest`` LLM.

    Examples
    --------
    >>> limits = BudgetLimits(period=Period(name="day"), each_key_usd=5.0, max_request_usd=0.1)
    >>> limits.usd_of("key-1"), limits.usd_of(""), limits.cap_usd("key-1")
    (5.0, None, 0.1)
    """

    period: Period
    usd: float | None = None
    each_key_usd: float | None = None
    max_request_usd: float | None = None
    keys: Mapping[str, KeyLimits] = field(default_factory=dict)
    when_spent: Literal["refuse", "cheapest"] = "refuse"

    def __post_init__(self) -> None:
        for name in ("usd", "each_key_usd", "max_request_usd"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        if self.when_spent not in ("refuse", "cheapest"):
            raise InvalidValueError("when_spent", self.when_spent, "refuse or cheapest")

    def usd_of(self, key_id: str) -> float | None:
        """Return the budget of a period of one key; a request without a key has none."""
        own = self.keys.get(key_id)
        if own is not None and own.usd is not None:
            return own.usd
        return self.each_key_usd if key_id else None

    def cap_usd(self, key_id: str) -> float | None:
        """Return the cap on a request of one key: the smaller of its own and everybody's."""
        own = self.keys.get(key_id)
        if own is None or own.max_request_usd is None:
            return self.max_request_usd
        return own.max_request_usd if self.max_request_usd is None else min(own.max_request_usd, self.max_request_usd)
