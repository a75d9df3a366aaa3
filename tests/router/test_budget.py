"""Budgets on a real router: what is charged, reserved, refused and paced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.small_router import question, small_router

from mixllm import Decision, Outcome, Query, Router
from mixllm.clock import ManualClock
from mixllm.config import PolicyConfig, RoutingConfig
from mixllm.decision import Period
from mixllm.errors import BudgetExhaustedError, InvalidValueError, NoEligibleLLMError
from mixllm.router import BudgetLimits, BudgetStatus, KeyLimits
from mixllm.router.budget import CHEAPEST
from mixllm.store import SQLiteStore

DAY = Period(name="day")
DAY_S = 86_400.0
GREEDY = RoutingConfig(trade_off=50.0, policy=PolicyConfig(name="greedy"))


def router_with(*, clock: ManualClock | None = None, **limits: Any) -> Router:
    given_limits = BudgetLimits(**{"period": DAY, **limits})
    return small_router(budget=given_limits, clock=clock or ManualClock(start_s=10.0), routing=GREEDY)


def status(router: Router, key_id: str = "") -> BudgetStatus:
    router.learn()
    assert router.budget is not None
    return router.budget.status(key_id)


def ask(router: Router, *, key_id: str = "", llm: str | None = None, number: int = 0, **more: Any) -> Decision:
    return router.route(Query(text=question(number), key_id=key_id, **more), llm=llm)


def pay(router: Router, decision: Decision, usd: float | None) -> None:
    router.record(decision.decision_id, Outcome(cost_usd=usd, latency_s=1.0))


def test_the_estimate_is_reserved_and_never_charged() -> None:
    with router_with(usd=1.0) as router:
        decision = ask(router)
        expected_usd = decision.chosen.forecast.cost_usd.mean
        total = status(router).total
        assert total is not None
        assert total.spent_usd == 0.0
        assert total.reserved_usd == pytest.approx(expected_usd)
        assert total.remaining_usd == pytest.approx(1.0 - expected_usd)
        pay(router, decision, 0.125)
        pay(router, decision, 0.5)  # Again, at another cost: the first record counts.
        total = status(router).total
        assert total is not None
        assert (total.spent_usd, total.reserved_usd, total.remaining_usd) == (0.125, 0.0, 0.875)


def test_a_failed_call_ends_its_reservation() -> None:
    with router_with(usd=1.0) as router:
        pay(router, ask(router), None)
        total = status(router).total
        assert total is not None
        assert (total.spent_usd, total.reserved_usd) == (0.0, 0.0)


def test_a_late_outcome_is_charged_to_the_period_it_is_recorded_in() -> None:
    clock = ManualClock(start_s=DAY_S - 100)
    with router_with(clock=clock, usd=1.0) as router:
        early, late = ask(router), ask(router)
        pay(router, early, 0.25)
        assert status(router).spent_usd == 0.25
        clock.advance(200)
        assert status(router).spent_usd == 0.0
        pay(router, late, 0.5)
        assert (status(router).spent_usd, status(router).start_s) == (0.5, DAY_S)


def test_a_verdict_is_charged_to_who_asked_the_question() -> None:
    with router_with(usd=10.0, each_key_usd=1.0) as router:
        decision = ask(router, key_id="key-a")
        pay(router, decision, 0.25)
        for _ in range(2):
            router.feedback(decision.decision_id, quality=1.0, source="judge", key_id="key-judge", cost_usd=0.125)
        found = status(router)
        assert (found.spent_usd, found.keys["key-a"].spent_usd) == (0.375, 0.375)
        assert "key-judge" not in found.keys


def test_a_call_that_is_forgotten_is_no_longer_reserved_for() -> None:
    clock = ManualClock(start_s=10.0)
    with router_with(clock=clock, usd=1.0) as router:
        ask(router)
        clock.advance(700)
        total = status(router).total
        assert total is not None
        assert (total.spent_usd, total.reserved_usd) == (0.0, 0.0)


def test_a_restart_and_another_process_see_the_true_spending(tmp_path: Path) -> None:
    path = tmp_path / "mixllm.db"
    clock = ManualClock(start_s=DAY_S + 10)

    def opened() -> Router:
        limits = BudgetLimits(period=DAY, usd=5.0, each_key_usd=1.0)
        return small_router(budget=limits, clock=clock, routing=GREEDY, store=SQLiteStore(path=path))

    with opened() as router:
        for number in range(5):
            pay(router, ask(router, key_id="key-a", number=number), 0.125)
    with opened() as router:
        assert status(router, "key-a").keys["key-a"].spent_usd == pytest.approx(0.625)
        with opened() as other:
            pay(other, ask(other, key_id="key-a"), 0.25)
            assert status(other).spent_usd == pytest.approx(0.875)
            assert status(router, "key-a").keys["key-a"].spent_usd == pytest.approx(0.875), "and so does the first"
            pay(router, ask(router), 0.5)
            assert status(router).spent_usd == status(other).spent_usd == pytest.approx(1.375)


def test_a_checkpoint_that_is_rolled_back_charges_nothing_again() -> None:
    with router_with(usd=5.0) as router:
        before = router.learner.checkpoint()
        for number in range(4):
            pay(router, ask(router, number=number), 0.25)
        assert status(router).spent_usd == 1.0
        router.learner.restore(before)
        assert router.learn() == 4, "the events are learned again"
        assert status(router).spent_usd == 1.0


def test_a_spent_budget_refuses_until_the_next_period() -> None:
    clock = ManualClock(start_s=DAY_S - 3600.5)
    with router_with(clock=clock, usd=0.5) as router:
        pay(router, ask(router), 0.75)
        router.learn()
        for llm in (None, "small"):
            with pytest.raises(BudgetExhaustedError) as refused:
                ask(router, llm=llm)
            assert (refused.value.key_id, refused.value.retry_after_s) == (None, 3600.5)
        total = status(router).total
        assert total is not None
        assert total.refused == 2
        clock.advance(3601)
        assert ask(router).llm
        assert ask(router, llm="large").llm == "large"


def test_the_budget_of_one_key_is_no_others() -> None:
    keys = {"key-b": KeyLimits(usd=5.0)}
    with router_with(each_key_usd=0.5, keys=keys) as router:
        for key_id in ("key-a", "key-b"):
            pay(router, ask(router, key_id=key_id), 0.75)
        router.learn()
        with pytest.raises(BudgetExhaustedError) as refused:
            ask(router, key_id="key-a")
        assert refused.value.key_id == "key-a"
        assert ask(router, key_id="key-b").llm
        assert ask(router).llm, "and without a key there is no key's budget"
        found = status(router)
        assert found.total is None
        assert (found.keys["key-a"].refused, found.keys["key-b"].refused) == (1, 0)


def test_when_spent_the_cheapest_takes_over_where_that_is_configured() -> None:
    with router_with(usd=0.5, when_spent="cheapest") as router:
        assert ask(router).llm == "large"
        pay(router, ask(router), 0.75)
        router.learn()
        decision = ask(router)
        assert (decision.llm, decision.policy) == ("small", CHEAPEST)
        assert "the budget is spent" in decision.reason
        assert {one.llm: one.propensity for one in decision.candidates} == {"small": 1.0, "middle": 0.0, "large": 0.0}
        assert ask(router, allowed_llms=frozenset({"middle", "large"})).llm == "middle"
        with pytest.raises(BudgetExhaustedError):
            ask(router, llm="large")


def test_what_is_left_bounds_the_next_request() -> None:
    with router_with(usd=1.0) as router:
        costs = {one.llm: one.forecast.cost_usd.mean for one in ask(router).candidates}
        pay(router, ask(router), 1.0 - costs["large"] - costs["middle"] * 1.5)  # "large" is still under way.
        router.learn()
        decision = ask(router)
        assert decision.llm == "middle"
        assert [one.llm for one in decision.ineligible] == ["large"]
        with pytest.raises(BudgetExhaustedError):
            ask(router, allowed_llms=frozenset({"large"}))
        with pytest.raises(BudgetExhaustedError):
            ask(router, llm="large")
        with pytest.raises(NoEligibleLLMError, match="not among the allowed LLMs"):
            ask(router, allowed_llms=frozenset({"nobody"}))


def test_caps_on_a_request() -> None:
    with small_router(routing=GREEDY) as router:
        costs = {one.llm: one.forecast.cost_usd.mean for one in ask(router).candidates}
    between = (costs["middle"] + costs["large"]) / 2
    low = (costs["small"] + costs["middle"]) / 2
    with router_with(max_request_usd=between, keys={"key-a": KeyLimits(max_request_usd=low)}) as router:
        assert ask(router).llm == "middle"
        assert ask(router, key_id="key-a").llm == "small"
        assert ask(router, key_id="key-b").llm == "middle"
        assert ask(router, max_cost_usd=low).llm == "small", "the request's own cap counts where it is lower"
        assert ask(router, max_cost_usd=1.0).llm == "middle", "and not where it is higher"
        with pytest.raises(NoEligibleLLMError, match=r"above budget\.max_request_usd"):
            ask(router, llm="large")
        assert ask(router, llm="middle").llm == "middle"


def test_a_loose_budget_changes_no_decision() -> None:
    def decisions(**change: Any) -> list[Decision]:
        made = []  # The worker may publish first: versions are left out.
        with small_router(clock=ManualClock(start_s=10.0), **change) as router:
            for number in range(30):
                decision = ask(router, number=number)
                pay(router, decision, 0.001)
                router.learn()
                made.append(
                    msgspec.structs.replace(decision, decision_id="", model_version=0)
                )  # the worker may be first
        return made

    assert decisions(budget=BudgetLimits(period=DAY, usd=1e6)) == decisions()


def test_a_tight_budget_paces_lambda_and_says_so() -> None:
    clock = ManualClock(start_s=0.0)
    with router_with(clock=clock, usd=0.02, each_key_usd=100.0) as router:
        decisions: list[Decision] = []
        stood: list[BudgetStatus] = []
        for number in range(240):
            clock.advance(360.0)  # Ten an hour, for a day.
            decisions.append(ask(router, number=number, key_id="key-a", trade_off=5.0))
            pay(router, decisions[-1], decisions[-1].chosen.forecast.cost_usd.mean)
            stood.append(status(router))
    paced = stood[200]
    assert paced.total is not None
    assert paced.total.cost_weight > 1.5
    assert paced.keys["key-a"].cost_weight == 1.0
    late = decisions[201]
    assert late.trade_off == pytest.approx(5.0 / paced.total.cost_weight, rel=0.1)
    assert f"a limit on cost paces λ from 5 to {late.trade_off:.3g}" in late.reason
    assert "paces" not in decisions[0].reason
    assert all(decision.trade_off <= 5.0 for decision in decisions)
    assert len({decision.llm for decision in decisions}) > 1


@settings(max_examples=25, deadline=None)
@given(
    usd=st.floats(0.0005, 0.02),
    calls=st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 6)), min_size=5, max_size=40),
)
def test_spending_goes_beyond_the_budget_by_no_more_than_forecasts_were_wrong(
    usd: float, calls: list[tuple[float, int]]
) -> None:
    clock = ManualClock(start_s=10.0)
    excess = 0.0
    spent = 0.0
    with router_with(clock=clock, usd=usd) as router:
        under_way: list[tuple[int, Decision, float]] = []
        for number, (factor, delay) in enumerate(calls):
            clock.advance(1.0)
            try:
                decision = ask(router, number=number)
            except BudgetExhaustedError:
                continue
            expected_usd = decision.chosen.forecast.cost_usd.mean
            under_way.append((number + delay, decision, expected_usd * factor))
            excess += max(0.0, expected_usd * (factor - 1.0))
            for due, made, cost_usd in under_way:
                if due == number:
                    pay(router, made, cost_usd)
                    spent += cost_usd
        for due, made, cost_usd in under_way:
            if due >= len(calls) or due not in range(len(calls)):
                pay(router, made, cost_usd)
        total = status(router).total
    assert total is not None
    assert total.spent_usd <= usd + excess + 1e-9


def test_limits_refuse_what_makes_no_sense() -> None:
    with pytest.raises(InvalidValueError, match="usd"):
        BudgetLimits(period=DAY, usd=0.0)
    with pytest.raises(InvalidValueError, match="each_key_usd"):
        BudgetLimits(period=DAY, each_key_usd=-1.0)
    with pytest.raises(InvalidValueError, match="when_spent"):
        BudgetLimits(period=DAY, when_spent="explode")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="max_request_usd"):
        KeyLimits(max_request_usd=0.0)
