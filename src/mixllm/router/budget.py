"""A router's budgets: caps before scores, a weight on cost that paces λ, and an end when the money is spent."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from mixllm.decision import Arrivals, Choice, Forecasts, Pacer
from mixllm.errors import BudgetExhaustedError, InvalidValueError, NoEligibleLLMError, PoolBusyError
from mixllm.interfaces import Clock, Store
from mixllm.router.account import Account, AccountStatus
from mixllm.router.budget_limits import BudgetLimits
from mixllm.router.decision_ids import call_id
from mixllm.router.ledger import Ledger
from mixllm.types import Decision, LearningEvent, Query, Spending, Value

__all__ = ["CHEAPEST", "Budget", "BudgetStatus"]

CHEAPEST = "cheapest"
"""The policy's name where the money was spent and the cheapest LLM was taken."""

_SETTLING = 0.01
"""Share of a period after which the rate of arrivals is trusted."""

_FORGOTTEN_AFTER_S = 600.0
"""Nothing is reserved for a call without an outcome for so long: it no longer counts as under way either."""


class BudgetStatus(Value, frozen=True, kw_only=True):
    """Where the budgets stand.

    Parameters
    ----------
    period, start_s, end_s
        The period: what it is called, and its Unix times.
    when_spent
        What becomes of requests when a budget is spent.
    spent_usd
        What the period has cost in all.
    total
        The budget over everything; None where there is none.
    keys
        The budget of every key that has one and has asked for something.
    """

    period: str
    start_s: float
    end_s: float
    when_spent: str
    spent_usd: float
    total: AccountStatus | None
    keys: dict[str, AccountStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reservation:
    key_id: str
    usd: float
    made_s: float


class Budget:
    """Keeps spending within limits; thread-safe.

    A decision on a call reserves its forecast cost. When the store tells what the call really cost, that is charged,
    and the reservation ends: nothing that was only expected is ever charged. What is left is the limit without both, so
    that calls under way do not spend it twice: spending goes beyond a limit by no more than calls cost beyond their
    forecasts, plus what other threads and processes decide at the same moment.

    Parameters
    ----------
    limits
        What may be spent.
    clock
        Time.
    pacer
        Makes the pacer of one budget.

    Notes
    -----
    Where several budgets bind, their multipliers add up: the weight of cost is 1 + Σμ.
    """

    def __init__(self, *, limits: BudgetLimits, clock: Clock, pacer: Callable[[], Pacer] = Pacer) -> None:
        self.limits = limits
        self.clock = clock
        self.pacer = pacer
        self._lock = threading.Lock()
        self._ledger = Ledger(period=limits.period, now_s=clock.time_s())
        self._total = None if limits.usd is None else self._opened(limits.usd, None)
        self._keys: dict[str, Account] = {}
        self._reserved: OrderedDict[str, _Reservation] = OrderedDict()

    def open(self, store: Store, *, until_seq: int) -> None:
        """Begin with what the events of `store` up to `until_seq` have cost in this period."""
        with self._lock:
            self._ledger.open(store, until_seq=until_seq)

    def spending(self) -> Spending:
        """Return what the period has cost, as far as events were charged, for `take_over`."""
        with self._lock:
            return self._ledger.spending()

    def take_over(self, spending: Spending) -> None:
        """Begin with what `spending` of another start tells; events after it are charged as they come."""
        with self._lock:
            self._ledger.take_over(spending)

    def relimit(self, limits: BudgetLimits) -> None:
        """Have other limits from now on; what was spent and reserved in the period counts against them.

        Raises
        ------
        InvalidValueError
            Where they are for another period.
        """
        with self._lock:
            if limits.period != self.limits.period:
                raise InvalidValueError("period", str(limits.period), f"{self.limits.period}, as before")
            self.limits = limits
            if limits.usd is None:
                self._total = None
            elif self._total is None:
                self._total = self._opened(limits.usd, None)
                self._total.reserved_usd = sum(made.usd for made in self._reserved.values())
            else:
                self._total.limit_usd = limits.usd
            for key_id, account in list(self._keys.items()):
                limit_usd = limits.usd_of(key_id)
                if limit_usd is None:
                    del self._keys[key_id]
                else:
                    account.limit_usd = limit_usd

    def choose(
        self, query: Query, choose: Callable[..., Choice], forecasts: Forecasts, named: str | None = None
    ) -> Choice:
        """Return the choice for `query` within the limits.

        Parameters
        ----------
        query
            Who asks what.
        choose
            Makes the choice for a query, with a `cost_weight` (see `DecisionMaker.choose`).
        forecasts
            What every LLM of the pool is expected to cost.
        named
            The LLM that the query names, if it names one; `choose` takes it.

        Raises
        ------
        BudgetExhaustedError
            Where a budget is spent, or what is left of it does not pay for any LLM that could take the query.
        NoEligibleLLMError
            Where no LLM may take it, whatever is left; `PoolBusyError` where one may, but not now.
        """
        cap_usd = self.limits.cap_usd(query.key_id)
        with self._lock:
            self._turn()
            accounts = self._accounts(query.key_id)
            scarcest = min(accounts, key=lambda account: account.left_usd, default=None)
            left_usd = math.inf if scarcest is None else scarcest.left_usd
            weight = 1.0 + sum(account.pacer.cost_weight - 1.0 for account in accounts)
        dearest_usd = float(forecasts.cost_usd.max(initial=0.0))
        query = _capped(query, cap_usd, dearest_usd)
        try:
            choice = choose(_capped(query, left_usd, dearest_usd), cost_weight=weight)
            affordable = choice.chosen.forecast.cost_usd.mean <= left_usd
        except PoolBusyError:
            raise  # Of those that the money pays for, one only has to be waited for.
        except NoEligibleLLMError:
            if left_usd >= dearest_usd:
                raise
            choice = choose(query, cost_weight=weight)  # Raises where more money would not help.
            affordable = False
        if named is not None:
            _refuse_above(cap_usd, choice)
        if scarcest is None or (affordable and left_usd > 0):
            return choice
        if self.limits.when_spent == "cheapest" and named is None:
            return _cheapest(choice)
        raise self._exhausted(scarcest, accounts)

    def reserve(self, decision: Decision) -> None:
        """Set aside what the call of `decision` is expected to cost, until its cost is known."""
        usd = decision.chosen.forecast.cost_usd.mean
        made = _Reservation(key_id=decision.key_id, usd=usd, made_s=self.clock.monotonic_s())
        with self._lock:
            self._turn()
            self._reserved[decision.decision_id] = made
            for account in self._accounts(decision.key_id):
                account.reserve(usd, self.clock.time_s())

    def reserve_attempt(self, decision: Decision, llm: str, attempt: int) -> None:
        """Set aside what a further call for `decision`, to another candidate or once more, is expected to cost."""
        usd = next((one.forecast.cost_usd.mean for one in decision.candidates if one.llm == llm), 0.0)
        made = _Reservation(key_id=decision.key_id, usd=usd, made_s=self.clock.monotonic_s())
        with self._lock:
            self._turn()
            self._reserved[call_id(decision.decision_id, attempt)] = made
            for account in self._accounts(decision.key_id):
                account.reserve_more(usd, self.clock.time_s())

    def charge(self, events: Sequence[LearningEvent]) -> None:
        """Charge what `events` of the store have cost, each once, and end the reservations of their calls."""
        with self._lock:
            self._turn()
            for event in events:
                if self._ledger.charge(event):
                    self._account_for(event)

    def status(self, key_id: str = "") -> BudgetStatus:
        """Return where the budgets stand now, that of `key_id` in any case."""
        with self._lock:
            self._turn()
            self._accounts(key_id)
            return BudgetStatus(
                period=str(self.limits.period),
                start_s=self._ledger.start_s,
                end_s=self._ledger.end_s,
                when_spent=self.limits.when_spent,
                spent_usd=self._ledger.total_usd,
                total=None if self._total is None else self._total.status(),
                keys={key_id: account.status() for key_id, account in self._keys.items()},
            )

    # ---- inside, with the lock held ---------------------------------------------------------------------------------

    def _accounts(self, key_id: str) -> list[Account]:
        """Return the budgets that pay for a request of that key."""
        accounts = [] if self._total is None else [self._total]
        own = self._keys.get(key_id)
        if own is None and (limit_usd := self.limits.usd_of(key_id)) is not None:
            own = self._keys[key_id] = self._opened(limit_usd, key_id)
        if own is not None:
            accounts.append(own)
        return accounts

    def _opened(self, limit_usd: float, key_id: str | None) -> Account:
        settle_s = _SETTLING * (self._ledger.end_s - self._ledger.start_s)
        arrivals = Arrivals(start_s=self.clock.time_s(), settle_s=settle_s)
        return Account(limit_usd=limit_usd, key_id=key_id, ledger=self._ledger, pacer=self.pacer(), arrivals=arrivals)

    def _account_for(self, event: LearningEvent) -> None:
        made = None if event.outcome is None else self._reserved_for(event.decision_id, event.outcome.attempt)
        if made is not None:
            self._settle(made.key_id, made.usd, event.charge_usd)
        elif event.outcome is not None and event.outcome.attempt == 0:
            # A call that this process knows nothing of: another one decided on it, or nobody said that it would come.
            for account in self._accounts(event.key_id):
                account.meet(event.charge_usd, self.clock.time_s())
        else:
            self._settle(event.key_id, 0.0, event.charge_usd)

    def _reserved_for(self, decision_id: str, attempt: int) -> _Reservation | None:
        """End and return what was reserved for an attempt: its own, or, where it was not announced, the decision's."""
        made = self._reserved.pop(call_id(decision_id, attempt), None)
        return self._reserved.pop(decision_id, None) if made is None else made

    def _settle(self, key_id: str, reserved_usd: float, measured_usd: float) -> None:
        for account in self._accounts(key_id):
            account.settle(reserved_usd, measured_usd, self.clock.time_s())
            if not self._reserved:
                account.reserved_usd = 0.0  # Whatever rounding has left.

    def _turn(self) -> None:
        """Begin a new period when it is time, and forget calls whose callers have forgotten them."""
        self._ledger.turn(self.clock.time_s())
        forgotten_s = self.clock.monotonic_s() - _FORGOTTEN_AFTER_S
        while self._reserved:
            decision_id, made = next(iter(self._reserved.items()))
            if made.made_s > forgotten_s:
                return
            del self._reserved[decision_id]
            self._settle(made.key_id, made.usd, 0.0)

    def _exhausted(self, account: Account, accounts: Sequence[Account]) -> BudgetExhaustedError:
        now_s = self.clock.time_s()
        with self._lock:
            account.refused += 1
            for one in accounts:
                one.arrivals.count(now_s)
            return BudgetExhaustedError(key_id=account.key_id, retry_after_s=max(0.0, self._ledger.end_s - now_s))


def _capped(query: Query, cap_usd: float | None, dearest_usd: float) -> Query:
    # A cap that rules out nothing is left out: it would cost a look at every LLM.
    if cap_usd is None or cap_usd >= dearest_usd or (query.max_cost_usd is not None and query.max_cost_usd <= cap_usd):
        return query
    return msgspec.structs.replace(query, max_cost_usd=max(0.0, cap_usd))


def _refuse_above(cap_usd: float | None, choice: Choice) -> None:
    """Raise `NoEligibleLLMError` where the LLM that the query names is expected to cost more than a request may."""
    cost_usd = choice.chosen.forecast.cost_usd.mean
    if cap_usd is not None and cost_usd > cap_usd:
        reason = f"expected cost ${cost_usd:.6f} is above budget.max_request_usd, ${cap_usd:.6f}"
        raise NoEligibleLLMError({choice.chosen.llm: reason})


def _cheapest(choice: Choice) -> Choice:
    """Return the choice of the cheapest candidate, for certain."""
    llm = min(choice.candidates, key=lambda candidate: candidate.forecast.cost_usd.mean).llm
    candidates = tuple(
        msgspec.structs.replace(candidate, propensity=float(candidate.llm == llm)) for candidate in choice.candidates
    )
    return msgspec.structs.replace(
        choice,
        chosen=next(candidate for candidate in candidates if candidate.llm == llm),
        candidates=candidates,
        policy=CHEAPEST,
        reason="the budget is spent: the cheapest LLM that can take the query",
    )
