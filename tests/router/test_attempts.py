"""Several calls of one decision, after or beside each other: what is under way, reserved and charged."""

from __future__ import annotations

import pytest
from tests.router.test_budget import ask, router_with, status
from tests.small_router import question, small_router

from mixllm import Outcome, Query
from mixllm.clock import ManualClock
from mixllm.registry import BreakerRules, Breakers
from mixllm.types import OutcomeStatus

NAMES = ("small", "middle", "large")


def counts(router: object) -> dict[str, int]:
    found: dict[str, int] = router.in_flight.counts()  # type: ignore[attr-defined]
    return found


def test_each_call_is_under_way_on_its_own_llm_until_its_own_outcome() -> None:
    with small_router() as router:
        decision = router.route(question(0), llm="small")
        router.begin_attempt(decision, "large", 1)
        assert counts(router) == {"small": 1, "large": 1}
        router.record(decision.decision_id, Outcome(llm="large", attempt=1, tokens_in=9, tokens_out=9, latency_s=1.0))
        assert counts(router) == {"small": 1}
        router.record(decision.decision_id, Outcome(status=OutcomeStatus.CANCELLED))
        assert counts(router) == {}
        kept = router.decision(decision.decision_id).outcomes
        assert sorted((one.llm, one.attempt, one.status.value) for one in kept) == [
            ("large", 1, "ok"),
            ("small", 0, "cancelled"),
        ]


def test_a_first_call_of_another_llm_moves_what_is_under_way() -> None:
    with small_router() as router:
        decision = router.route(question(0), llm="small")
        router.begin_attempt(decision, "large", 0)
        assert counts(router) == {"large": 1}
        router.record(decision.decision_id, Outcome(llm="large", latency_s=1.0))
        assert counts(router) == {}


def test_an_attempt_that_nobody_announced_ends_the_call_of_the_decision() -> None:
    with small_router() as router:
        decision = router.route(question(0))
        router.record(decision.decision_id, Outcome(attempt=3, latency_s=1.0))
        assert counts(router) == {}


@pytest.mark.parametrize("first_cost_usd", [None, 0.25])
def test_a_fallback_is_reserved_and_both_calls_are_charged(first_cost_usd: float | None) -> None:
    with router_with(usd=1.0) as router:
        decision = ask(router)
        router.record(decision.decision_id, Outcome(status=OutcomeStatus.ERROR, cost_usd=first_cost_usd))
        other = next(one for one in decision.candidates if one.llm != decision.llm)
        router.begin_attempt(decision, other.llm, 1)
        total = status(router).total
        assert total is not None
        assert total.reserved_usd == pytest.approx(other.forecast.cost_usd.mean)
        assert total.spent_usd == (first_cost_usd or 0.0)
        router.record(decision.decision_id, Outcome(llm=other.llm, attempt=1, cost_usd=0.5, latency_s=1.0))
        total = status(router).total
        assert total is not None
        assert (total.spent_usd, total.reserved_usd) == ((first_cost_usd or 0.0) + 0.5, 0.0)


def test_a_hedge_reserves_beside_the_first_call() -> None:
    with router_with(usd=1.0) as router:
        decision = ask(router)
        other = next(one for one in decision.candidates if one.llm != decision.llm)
        router.begin_attempt(decision, other.llm, 1)
        total = status(router).total
        assert total is not None
        both_usd = decision.chosen.forecast.cost_usd.mean + other.forecast.cost_usd.mean
        assert total.reserved_usd == pytest.approx(both_usd)
        router.record(decision.decision_id, Outcome(llm=other.llm, attempt=1, cost_usd=0.5, latency_s=1.0))
        total = status(router).total
        assert total is not None
        assert total.reserved_usd == pytest.approx(decision.chosen.forecast.cost_usd.mean)


def test_an_llm_that_fails_is_not_chosen_unless_all_do() -> None:
    clock = ManualClock(start_s=1e9)
    with small_router(clock=clock) as router:
        router.breakers = Breakers(clock=clock, rules=BreakerRules(failures=1, open_s=5))
        clock.advance(1.0)
        for llm in ("small", "large"):
            router.breakers.failed(llm, began_s=0.5)
        decisions = [router.route(question(number)) for number in range(20)]
        assert {decision.llm for decision in decisions} == {"middle"}
        assert {one.llm: one.reason for one in decisions[0].ineligible} == dict.fromkeys(
            ("small", "large"), "it keeps failing; tried again in 5.0 s"
        )
        assert router.route(question(0), llm="small").llm == "small", "a name is a name"
        only = router.route(Query(text=question(1), allowed_llms=frozenset({"large"})))
        assert only.llm == "large"
        assert only.reason.endswith("; every LLM that could take it fails at present")
        assert {one.llm: one.reason for one in only.ineligible} == dict.fromkeys(
            ("small", "middle"), "not among the allowed LLMs"
        )
        clock.advance(5.0)
        assert {router.route(question(number)).llm for number in range(60)} == set(NAMES)


def test_a_call_that_another_llm_takes_knows_what_was_under_way_there() -> None:
    with small_router() as router:
        for _ in range(3):
            router.route("a call under way", llm="small")
        router.route("another", llm="large")
        decision = router.route("one that a breaker turns away", llm="small")
        assert decision.in_flight == 3
        router.begin_attempt(decision, "large", 0)
        moved = router.record(decision.decision_id, Outcome(llm="large", tokens_in=5, tokens_out=5, latency_s=1.0))
        chosen = router.route("and one that is not", llm="small")
        usual = router.record(chosen.decision_id, Outcome(tokens_in=5, tokens_out=5, latency_s=1.0))
        unannounced = router.route("whose caller says nothing", llm="small")
        unsaid = router.record(unannounced.decision_id, Outcome(llm="large", tokens_in=5, tokens_out=5, latency_s=1.0))

        assert (moved.in_flight, usual.in_flight, unsaid.in_flight) == (1, None, 0)
        assert router.decision(decision.decision_id).outcomes[0].in_flight == 1


def test_a_fallback_knows_what_was_under_way_at_its_llm() -> None:
    with small_router() as router:
        router.route("a call under way", llm="large")
        decision = router.route("one that fails", llm="small")
        router.record(decision.decision_id, Outcome(status=OutcomeStatus.ERROR))
        router.begin_attempt(decision, "large", 1)
        outcome = Outcome(llm="large", attempt=1, tokens_in=5, tokens_out=5, latency_s=1.0)
        assert router.record(decision.decision_id, outcome).in_flight == 1


def test_a_decision_is_reconsidered_with_the_whole_pool_and_nothing_is_kept() -> None:
    with small_router() as router:
        narrow = router.route(Query(text="solve it", allowed_llms=frozenset({"middle"})))
        wide = router.reconsider(narrow, Query(text="solve it", allowed_llms=frozenset({"middle", "large"})))

        assert [one.llm for one in narrow.candidates] == ["middle"]
        assert {one.llm: one.propensity for one in wide.candidates} == {"middle": 1.0, "large": 0.0}
        assert (wide.llm, wide.decision_id, wide.chosen) == (narrow.llm, narrow.decision_id, narrow.chosen)
        assert router.decision(narrow.decision_id).decision == narrow
        assert router.in_flight.counts() == {"middle": 1}
        nobody = Query(text="solve it", allowed_llms=frozenset({"none"}))
        assert router.reconsider(narrow, nobody) is narrow
