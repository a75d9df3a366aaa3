"""A router's limit on cost relative to always asking one LLM: what its decisions cost, and what that LLM would have."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mixllm.decision import Choice, SharePacer
from mixllm.decision.maker import FORCED
from mixllm.types import Decision, LearningEvent, Query, Value

__all__ = ["CostShare", "CostShareStatus"]

_KEPT_CALLS = 10_000
"""Of so many of the newest decisions the measured costs are waited for."""


class CostShareStatus(Value, frozen=True, kw_only=True):
    """Where the limit stands.

    Parameters
    ----------
    limit
        The share that may be spent, without caution.
    spent_usd, reference_usd
        What the decisions since the start have cost, as measured where that is known, and what the reference was
        expected to cost on the same queries.
    cost_weight
        1+μ: how many times as much cost counts; λ is divided by it.
    out_of_reach
        Whether even the cheapest LLMs cost more than the share.
    """

    limit: float
    spent_usd: float
    reference_usd: float
    cost_weight: float
    out_of_reach: bool


@dataclass(slots=True)
class _Call:
    expected_usd: float
    scale_usd: float
    judgements: float


class CostShare:
    """Keeps the mean cost of decisions below a share of the reference LLM's; thread-safe.

    Queries that name their LLM count for nothing, nor do those that the reference could not take: there is nothing to
    compare them with.

    Parameters
    ----------
    pacer
        Holds the limit, and what cost weighs for it.
    """

    def __init__(self, *, pacer: SharePacer) -> None:
        self.pacer = pacer
        self._lock = threading.Lock()
        self._calls: OrderedDict[str, _Call] = OrderedDict()
        self._spent_usd = self._reference_usd = 0.0

    def paced(self, choose: Callable[..., Choice]) -> Callable[..., Choice]:
        """Return `choose` with the weight of cost that keeps the limit, on top of that of budgets."""
        more = self.pacer.cost_weight - 1.0
        if more <= 0.0:
            return choose

        def choose_paced(query: Query, *, cost_weight: float = 1.0) -> Choice:
            return choose(query, cost_weight=cost_weight + more)

        return choose_paced

    def decided(self, decision: Decision, reference: str | None) -> None:
        """Count what the call of `decision` is expected to cost, beside what `reference` would."""
        instead = next((one for one in decision.candidates if one.llm == reference), None)
        if instead is None or decision.policy == FORCED:
            return
        usd, reference_usd = decision.chosen.forecast.cost_usd.mean, instead.forecast.cost_usd.mean
        judgements = sum([one.forecast.judgements for one in decision.candidates])
        call = _Call(expected_usd=usd, scale_usd=decision.cost_scale_usd, judgements=judgements)
        with self._lock:
            self.pacer.decided(usd, reference_usd=reference_usd, scale_usd=call.scale_usd, judgements=judgements)
            self._spent_usd += usd
            self._reference_usd += reference_usd
            self._calls[decision.decision_id] = call
            if len(self._calls) > _KEPT_CALLS:
                self._calls.popitem(last=False)

    def charge(self, events: Sequence[LearningEvent]) -> None:
        """Count what the calls of `events` have really cost, those after a first one of the same decision in full."""
        with self._lock:
            for event in events:
                call = self._calls.get(event.decision_id)
                if call is None or event.outcome is None:
                    continue
                difference_usd = event.charge_usd - call.expected_usd
                call.expected_usd = 0.0
                self._spent_usd += difference_usd
                self.pacer.corrected(difference_usd, scale_usd=call.scale_usd, judgements=call.judgements)

    def status(self) -> CostShareStatus:
        """Return where the limit stands."""
        with self._lock:
            return CostShareStatus(
                limit=self.pacer.share,
                spent_usd=self._spent_usd,
                reference_usd=self._reference_usd,
                cost_weight=self.pacer.cost_weight,
                out_of_reach=self.pacer.out_of_reach,
            )
