"""The limit on cost relative to the reference LLM, on a real router: what it counts, and what it does to λ."""

from __future__ import annotations

from typing import Any

import pytest
from tests.small_router import question, small_router

from mixllm import Decision, Outcome, Query, Router
from mixllm.config import PolicyConfig, RoutingConfig
from mixllm.decision import Period
from mixllm.errors import InvalidValueError
from mixllm.router import BudgetLimits, CostShareStatus


def router_with(share: float | None, **more: Any) -> Router:
    routing = RoutingConfig(trade_off=50.0, max_cost_share=share, policy=PolicyConfig(name="greedy"))
    return small_router(routing=routing, **more)


def status(router: Router) -> CostShareStatus:
    router.learn()
    assert router.cost_share is not None
    return router.cost_share.status()


def expected_usd(decision: Decision, llm: str | None = None) -> float:
    return next(one.forecast.cost_usd.mean for one in decision.candidates if one.llm == (llm or decision.llm))


def test_without_a_share_there_is_no_limit() -> None:
    with router_with(None) as router:
        assert router.cost_share is None
        router.route(question(1))


def test_a_share_is_refused_outside_its_range() -> None:
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(InvalidValueError, match="max_cost_share"):
            RoutingConfig(max_cost_share=share)


def test_expected_costs_count_until_the_measured_ones_are_known() -> None:
    with router_with(0.5) as router:
        decision = router.route(question(1))
        reference = router.learner.reference
        assert reference is not None
        found = status(router)
        assert found.spent_usd == pytest.approx(expected_usd(decision))
        assert found.reference_usd == pytest.approx(expected_usd(decision, reference))
        router.record(decision.decision_id, Outcome(cost_usd=0.125, latency_s=1.0))
        assert status(router).spent_usd == pytest.approx(0.125)
        router.begin_attempt(decision, reference, 1)
        router.record(decision.decision_id, Outcome(cost_usd=0.25, latency_s=1.0, llm=reference, attempt=1))
        assert status(router).spent_usd == pytest.approx(0.375), "a further call for the same query counts too"


def test_what_cannot_be_compared_does_not_count() -> None:
    with router_with(0.5) as router:
        reference = router.learner.reference
        assert reference is not None
        router.route(question(1), llm=reference)
        others = frozenset(spec.name for spec in router.llms) - {reference}
        router.route(Query(text=question(2), allowed_llms=others))
        router.route(question(3), expect_outcome=False)
        assert (status(router).spent_usd, status(router).reference_usd) == (0.0, 0.0)


def test_dear_decisions_lower_lambda_and_the_decision_tells() -> None:
    with router_with(0.05) as router:
        decisions = []
        for number in range(200):
            decision = router.route(question(number))
            decisions.append(decision)
            router.record(decision.decision_id, Outcome(tokens_in=10, tokens_out=100, latency_s=1.0))
            router.feedback(decision.decision_id, quality=0.9)
        router.learn()
        assert decisions[0].trade_off == 50.0
        assert decisions[-1].trade_off < 25.0
        assert "paces λ" in decisions[-1].reason
        own = router.route(Query(text=question(5), trade_off=8.0))
        assert own.trade_off == pytest.approx(8.0 / status(router).cost_weight, rel=0.2), "also a query's own λ"


def test_it_adds_up_with_a_budget() -> None:
    with router_with(0.05, budget=BudgetLimits(period=Period(name="day"), usd=100.0)) as router:
        assert router.cost_share is not None
        for _ in range(20):
            router.cost_share.pacer.corrected(1.0, scale_usd=1.0, judgements=0)
        weight = router.cost_share.pacer.cost_weight
        assert weight > 2
        assert router.route(question(1)).trade_off == pytest.approx(50.0 / weight)
        weights = []

        def choose(query: Query, *, cost_weight: float) -> Any:
            weights.append(cost_weight)

        router.cost_share.paced(choose)(Query(text="x"), cost_weight=3.0)
        assert weights == [pytest.approx(3.0 + router.cost_share.pacer.cost_weight - 1.0)]


def test_a_reload_keeps_the_weight_of_a_limit_that_stays() -> None:
    from mixllm.assembly import build_cost_share

    before = build_cost_share(RoutingConfig(max_cost_share=0.5))
    assert build_cost_share(RoutingConfig(max_cost_share=0.5, trade_off=9.0), before=None) is not before
    assert build_cost_share(RoutingConfig(max_cost_share=0.5), before=before) is before
    other = build_cost_share(RoutingConfig(max_cost_share=0.4), before=before)
    assert other is not None
    assert other.pacer.share == 0.4
    assert build_cost_share(RoutingConfig(), before=before) is None
