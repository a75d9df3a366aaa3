"""Waiting, limits and deadlines: what a router does when its pool is busy."""

from __future__ import annotations

import heapq
import threading
from collections import Counter

import pytest
from tests.small_router import small_router, spec

from mixllm import Outcome, OutcomeStatus, Query
from mixllm.clock import ManualClock
from mixllm.config import PolicyConfig, RoutingConfig
from mixllm.errors import NoEligibleLLMError, PoolBusyError

GREEDY = PolicyConfig(name="greedy")
POOL = ("first", "second", "third")


def teach_speed(made: object, llms: tuple[str, ...], latency_s: float) -> None:
    """Let every LLM answer a few times, so that its speed is known."""
    for llm in llms:
        for _ in range(40):
            decision = made.route("hi", llm=llm)  # type: ignore[attr-defined]
            made.record(  # type: ignore[attr-defined]
                decision.decision_id, Outcome(tokens_in=10, tokens_out=20, latency_s=latency_s)
            )
    made.learn()  # type: ignore[attr-defined]


@pytest.mark.parametrize("threads", [1, 8])
def test_a_burst_spreads_over_the_pool(threads: int) -> None:
    llms = [spec(name, 1.0 + row, max_in_flight=8) for row, name in enumerate(POOL)]
    with small_router(
        llms=llms, clock=ManualClock(), routing=RoutingConfig(policy=GREEDY, max_wait_s=4.0, deadline_s=5.0)
    ) as made:
        teach_speed(made, POOL, 1.0)
        chosen, refused = list[str](), list[float]()

        def decide(number: int) -> None:
            for turn in range(number, 100, threads):
                try:
                    chosen.append(made.route(f"question {turn}").llm)
                except PoolBusyError as error:
                    refused.append(error.retry_after_s)

        workers = [threading.Thread(target=decide, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        counts = Counter(chosen)
        assert len(chosen) + len(refused) == 100
        assert made.in_flight.counts() == counts
        # One LLM would take 8 calls at once and, in 4 s, four times as many after them.
        assert set(counts) == set(POOL)
        assert max(counts.values()) <= 8 * 6
        assert max(made.waits_s().values()) <= 6.0
        assert all(0 < after_s < 10 for after_s in refused)


def test_every_llm_too_busy_says_when_and_why() -> None:
    clock = ManualClock()
    llms = [spec("a", 1.0), spec("b", 1.0)]
    with small_router(llms=llms, clock=clock) as made:
        made.refused("a", 30.0)
        assert made.route("hi").llm == "b"
        made.refused("b", 10.0)
        with pytest.raises(PoolBusyError, match=r"a: its endpoint refused.*Try again in 10 s") as caught:
            made.route("hi")
        assert caught.value.retry_after_s == 10.0
        assert made.shed == 1
        clock.advance(10.0)
        assert made.route("hi").llm == "b"


def test_a_rate_limit_moves_traffic_and_comes_back() -> None:
    clock = ManualClock()
    limited = spec("limited", 0.1, requests_per_minute=3)
    with small_router(llms=[limited, spec("other", 5.0)], clock=clock, routing=RoutingConfig(policy=GREEDY)) as made:
        taken = [made.route(Query(text="hi", trade_off=0.0)) for _ in range(5)]
        assert [one.llm for one in taken] == ["limited"] * 3 + ["other"] * 2
        assert [one.reason for one in taken[-1].ineligible] == [
            "rate limit of 3 requests/min is used up, free in 61.0 s"
        ]
        clock.advance(61.0)
        assert made.route(Query(text="hi", trade_off=0.0)).llm == "limited"


def test_deciding_without_a_call_uses_nothing_up() -> None:
    with small_router(llms=[spec("a", 1.0, requests_per_minute=1)], clock=ManualClock()) as made:
        for _ in range(3):
            made.route("hi", expect_outcome=False)
        made.route("hi")
        with pytest.raises(PoolBusyError):
            made.route("hi", expect_outcome=False)


def test_a_named_llm_keeps_its_limits_too_and_nothing_else() -> None:
    llms = [spec("a", 1.0, requests_per_minute=1), spec("b", 1.0)]
    with small_router(llms=llms, clock=ManualClock()) as made:
        assert made.route(Query(text="hi", max_latency_s=1e-9), llm="a").llm == "a"
        with pytest.raises(PoolBusyError) as caught:
            made.route("hi", llm="a")
        assert list(caught.value.reasons) == ["a"]


def test_a_deadline_that_nobody_can_meet_is_no_business_of_waiting() -> None:
    with small_router(clock=ManualClock()) as made, pytest.raises(NoEligibleLLMError) as caught:
        made.route(Query(text="hi", max_latency_s=1e-6))
    assert not isinstance(caught.value, PoolBusyError)


def test_the_routers_own_limits_on_time_hold_where_a_query_sets_none() -> None:
    routing = RoutingConfig(max_latency_s=1e-6, max_ttft_s=1e-7)
    with small_router(clock=ManualClock(), routing=routing) as made:
        with pytest.raises(NoEligibleLLMError, match="latency of"):
            made.route("hi")
        with pytest.raises(NoEligibleLLMError, match="first token"):
            made.route(Query(text="hi", max_latency_s=1e6, streamed=True))
        assert made.route(Query(text="hi", max_latency_s=1e6)).llm


def test_a_failure_while_the_decision_is_kept_leaves_nothing_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with small_router(clock=ManualClock()) as made:

        def fail(record: object) -> None:
            raise OSError(str(type(record)))

        monkeypatch.setattr(made.store, "append_decision", fail)
        with pytest.raises(OSError, match="DecisionRecord"):
            made.route("hi")
        assert made.in_flight.counts() == {}


def test_overload_is_shed_with_bounded_queues_and_passes() -> None:
    """1.5 times what the pool can serve, for a minute; then 0.5 times."""
    clock = ManualClock()
    servers, service_s = 4, 1.0
    llms = [spec(name, 1.0, max_in_flight=servers) for name in POOL]
    with small_router(
        llms=llms, clock=clock, routing=RoutingConfig(policy=GREEDY, max_wait_s=5.0, deadline_s=10.0)
    ) as made:
        teach_speed(made, POOL, service_s)
        capacity = servers * len(POOL) / service_s
        free_s = {name: [0.0] * servers for name in POOL}
        ends: list[tuple[float, float, str, str]] = []
        waited, shed, advice = list[tuple[float, float]](), list[float](), list[float]()

        def until(now_s: float) -> None:
            while ends and ends[0][0] <= now_s:
                end_s, latency_s, decision_id, llm = heapq.heappop(ends)
                clock.advance(max(0.0, end_s - clock.monotonic_s()))
                outcome = Outcome(llm=llm, tokens_in=10, tokens_out=20, latency_s=latency_s)
                made.record(decision_id, outcome)
            clock.advance(max(0.0, now_s - clock.monotonic_s()))

        now_s = 0.0
        while now_s < 120.0:
            until(now_s)
            try:
                decision = made.route("hi")
            except PoolBusyError as error:
                shed.append(now_s)
                advice.append(error.retry_after_s)
            else:
                begin_s = max(now_s, heapq.heappop(free_s[decision.llm]))
                heapq.heappush(free_s[decision.llm], begin_s + service_s)
                waited.append((now_s, begin_s - now_s))
                heapq.heappush(
                    ends, (begin_s + service_s, begin_s + service_s - now_s, decision.decision_id, decision.llm)
                )
            now_s += 1 / ((1.5 if now_s < 60.0 else 0.5) * capacity)
        until(200.0)

    assert max(wait_s for _, wait_s in waited) < 10.0
    assert all(0 < after_s < 30.0 for after_s in advice)  # The learned speed moves with what was waited before.
    # A third more comes than can be served, and all the rest is.
    overloaded = [at_s for at_s in shed if at_s < 60.0]
    assert 0.15 < len(overloaded) / (60.0 * 1.5 * capacity) < 0.4
    recovered_s = 90.0
    assert not [at_s for at_s in shed if at_s > recovered_s]
    assert max(wait_s for at_s, wait_s in waited if at_s > recovered_s) < 0.5


def test_an_outcome_frees_the_queue() -> None:
    routing = RoutingConfig(max_wait_s=1.0)
    with small_router(llms=[spec("a", 1.0, max_in_flight=1)], clock=ManualClock(), routing=routing) as made:
        decision = made.route("hi")
        with pytest.raises(PoolBusyError, match="its queue is full"):
            made.route("hi")
        made.record(decision.decision_id, Outcome(status=OutcomeStatus.CANCELLED))
        assert made.route("hi").llm == "a"
