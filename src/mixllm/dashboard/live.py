"""What the store does not know: how the router is right now, and its newest decisions in short."""

from __future__ import annotations

from mixllm.dashboard.tally import answer_of
from mixllm.learning.store_export import judged_quality
from mixllm.learning.vitals import Vitals
from mixllm.registry import BreakerStatus
from mixllm.router import RouterCore
from mixllm.router.budget import BudgetStatus
from mixllm.types import StoredDecision, TagWeight, Value

__all__ = ["LLMNow", "NewestDecision", "RouterNow", "newest_decision", "router_now"]


class LLMNow(Value, frozen=True, kw_only=True):
    """An LLM of the pool: calls under way (of all workers), expected wait, cooldown, breaker, judgements known."""

    name: str
    in_flight: int
    wait_s: float
    refused_s: float
    breaker: BreakerStatus
    judgements: float


class Learning(Value, frozen=True, kw_only=True):
    """How learning does: its vitals, what is wrong in words, which model decides, how often it was replaced."""

    vitals: Vitals
    warnings: tuple[str, ...]
    model_version: int
    swaps: int


class RouterNow(Value, frozen=True, kw_only=True):
    """How the router is now.

    Parameters
    ----------
    llms
        The pool, in its order.
    learning
        How learning does.
    budget
        Where the budgets stand; None where there is none.
    workers
        Processes that share one picture of the load.
    shed
        Requests that this process has refused because the pool was busy.
    """

    llms: tuple[LLMNow, ...]
    learning: Learning
    budget: BudgetStatus | None
    workers: int
    shed: int


class NewestDecision(Value, frozen=True, kw_only=True):
    """A decision in short: who was chosen and why, who answered, and what came of it; never a prompt."""

    decision_id: str
    created_at_s: float
    llm: str
    answered_by: str | None
    reason: str
    policy: str
    tags: tuple[TagWeight, ...]
    out_of_domain: float
    key_id: str
    status: str | None
    quality: float | None
    cost_usd: float | None
    latency_s: float | None


def router_now(router: RouterCore) -> RouterNow:
    """Return how `router` is now; asks the store how far it is, so not on an event loop."""
    snapshot, vitals = router.snapshot, router.worker.vitals()
    counts, waits_s, refused_s = router.traffic.counts(), router.waits_s(), router.traffic.refused_s()
    return RouterNow(
        llms=tuple(
            LLMNow(
                name=spec.name,
                in_flight=counts.get(spec.name, 0),
                wait_s=waits_s.get(spec.name, 0.0),
                refused_s=refused_s.get(spec.name, 0.0),
                breaker=router.breakers.status(spec.name),
                judgements=judgements,
            )
            for spec, judgements in zip(snapshot.specs, snapshot.judgements, strict=True)
        ),
        learning=Learning(
            vitals=vitals, warnings=vitals.warnings(), model_version=snapshot.version, swaps=router.swaps
        ),
        budget=None if router.budget is None else router.budget.status(),
        workers=router.traffic.processes,
        shed=router.shed,
    )


def newest_decision(stored: StoredDecision) -> NewestDecision:
    """Return a decision in short."""
    decision, answer = stored.decision, answer_of(stored)
    costs = [one.cost_usd for one in stored.outcomes if one.cost_usd is not None]
    last = answer if answer is not None else next(reversed(stored.outcomes), None)
    return NewestDecision(
        decision_id=decision.decision_id,
        created_at_s=decision.created_at_s,
        llm=decision.llm,
        answered_by=None if answer is None else answer.llm or decision.llm,
        reason=decision.reason,
        policy=decision.policy,
        tags=decision.tags,
        out_of_domain=decision.out_of_domain,
        key_id=decision.key_id,
        status=None if last is None else last.status.value,
        quality=judged_quality(stored.feedback),
        cost_usd=sum(costs) if costs else None,
        latency_s=None if last is None else last.latency_s,
    )
