"""Shadows on a real router: logged beside the live policy, counted, and never in its way."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.small_router import EXPLORING, question, small_router, teach

from mixllm import Decision, LLMSpec, Query, Router
from mixllm.clock import ManualClock
from mixllm.config import PolicyConfig, RoutingConfig, ShadowConfig
from mixllm.decision import DecisionMaker, Period, ScoreWeights
from mixllm.errors import InvalidValueError
from mixllm.router import BudgetLimits, Shadow, Shadows
from mixllm.types import Forecast

GREEDY = ShadowConfig(name="greedy at 9", trade_off=9.0, policy=PolicyConfig(name="greedy"))
SAME = ShadowConfig(name="the same", policy=EXPLORING.policy)


def router_with(*shadows: ShadowConfig, **change: object) -> Router:
    routing = RoutingConfig(policy=EXPLORING.policy, shadow=shadows)
    return small_router(routing=routing, clock=ManualClock(start_s=10.0), **change)


def routed(router: Router, count: int = 40) -> list[Decision]:
    return [router.route(question(number), expect_outcome=False) for number in range(count)]


def test_what_a_shadow_would_have_done_is_logged() -> None:
    with router_with(GREEDY, SAME) as router:
        teach(router)
        decisions = routed(router)
        stored = router.decision(decisions[0].decision_id).decision
    assert stored == decisions[0]
    for decision in decisions:
        greedy, same = decision.shadow
        assert (greedy.policy, greedy.trade_off) == ("greedy at 9", 9.0)
        assert sum(greedy.propensities) == pytest.approx(1.0)
        best = max(
            decision.candidates,
            key=lambda one: (
                0.9 * one.forecast.quality.mean - 0.1 * one.forecast.cost_usd.mean / decision.cost_scale_usd
            ),
        )
        assert greedy.llm == best.llm
        assert [one.llm for one in decision.candidates][int(np.argmax(greedy.propensities))] == greedy.llm
        assert (same.policy, same.trade_off, same.llm) == ("the same", decision.trade_off, decision.llm), "one draw"
        assert list(same.propensities) == [one.propensity for one in decision.candidates]


def test_a_shadow_changes_no_decision() -> None:
    def bare(*shadows: ShadowConfig) -> list[tuple[str, str, float, tuple[object, ...]]]:
        with router_with(*shadows) as router:
            teach(router)
            return [(one.llm, one.reason, one.trade_off, one.candidates) for one in routed(router)]

    assert bare(GREEDY, SAME) == bare()


def test_a_shadow_sees_the_same_candidates_and_wishes() -> None:
    with router_with(GREEDY) as router:
        decision = router.route(Query(text="hi", allowed_llms=frozenset({"small", "middle"}), trade_off=0.0))
        (shadow,) = decision.shadow
        assert len(shadow.propensities) == 2
        assert (shadow.llm, shadow.trade_off) == ("small", 0.0), "the request's own λ holds for both"
        assert router.route("hi", llm="large").shadow == (), "where no policy chose there is none beside it"


def test_a_budget_paces_the_shadow_as_it_paces_the_live_policy() -> None:
    with router_with(GREEDY, budget=BudgetLimits(period=Period(name="day"), usd=1e-3)) as router:
        asked = [Query(text=question(number), allowed_llms=frozenset({"small"})) for number in range(20)]
        decision = [router.route(query) for query in asked][-1]
        assert decision.trade_off < 1.4
        assert decision.shadow[0].trade_off / decision.trade_off == pytest.approx(9.0 / 1.4)


def test_agreement_and_differences_are_counted() -> None:
    with router_with(GREEDY, SAME) as router:
        teach(router)
        before = router.shadows.counts() if router.shadows is not None else {}
        decisions = routed(router)
        assert router.shadows is not None
        counts = router.shadows.counts()
    greedy, same = counts["greedy at 9"], counts["the same"]
    assert before["the same"].decisions == 0, "named LLMs are no policy's choice"
    assert (same.decisions, same.agreed, same.failed) == (40, 40, 0)
    assert same.cost_difference_usd == pytest.approx(0.0, abs=1e-15)
    assert greedy.agreed == sum(decision.shadow[0].llm == decision.llm for decision in decisions) < 40
    expected = sum(
        (share - one.propensity) * one.forecast.cost_usd.mean
        for decision in decisions
        for share, one in zip(decision.shadow[0].propensities, decision.candidates, strict=True)
    )
    assert greedy.cost_difference_usd == pytest.approx(expected)
    assert greedy.quality_difference != 0.0


class Broken:
    """A policy that fails on every second decision."""

    name = "broken"

    def __init__(self) -> None:
        self.asked = 0

    def propensities(
        self, *, scores: NDArray[np.float64], stds: NDArray[np.float64], forecasts: Sequence[Forecast]
    ) -> NDArray[np.float64]:
        del stds, forecasts
        self.asked += 1
        if self.asked % 2:
            raise RuntimeError("no idea")
        return np.full(len(scores), 1 / len(scores))


def test_a_shadow_that_fails_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    broken = Shadow(name="broken", maker=DecisionMaker(weights=ScoreWeights(), policy=Broken()))
    with router_with(GREEDY) as router:
        assert router.shadows is not None
        router.shadows = Shadows([broken, *router.shadows.shadows])
        with caplog.at_level(logging.ERROR, logger="mixllm"):
            decisions = routed(router, 6)
        counts = router.shadows.counts()
    assert [len(decision.shadow) for decision in decisions] == [1, 2, 1, 2, 1, 2]
    assert all(decision.shadow[-1].policy == "greedy at 9" for decision in decisions)
    assert (counts["broken"].decisions, counts["broken"].failed) == (3, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "the shadow 'broken' cannot decide (RuntimeError: no idea); later failures are only counted"
    ]


def test_shadows_have_names_of_their_own() -> None:
    maker = DecisionMaker(weights=ScoreWeights(), policy=Broken())
    with pytest.raises(InvalidValueError, match="same name"):
        Shadows([Shadow(name="a", maker=maker), Shadow(name="a", maker=maker)])
    with pytest.raises(InvalidValueError, match="blanks"):
        Shadow(name=" ", maker=maker)
    with pytest.raises(InvalidValueError, match="same name"):
        RoutingConfig(shadow=(SAME, SAME))


def test_a_pool_of_one_has_shadows_too() -> None:
    with router_with(GREEDY, llms=[LLMSpec(name="only", price=small_router().llms[0].price)]) as router:
        (shadow,) = router.route("hi").shadow
    assert (shadow.llm, shadow.propensities) == ("only", (1.0,))
