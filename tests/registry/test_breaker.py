from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.clock import ManualClock
from mixllm.errors import InvalidValueError
from mixllm.registry import BreakerRules, Breakers, BreakerState
from mixllm.registry.breaker import Breaker

RULES = BreakerRules(failures=3, failure_share=0.5, min_calls=10, window_s=10, open_s=2, max_open_s=7)


def fail(breaker: Breaker, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.began(now_s)
        breaker.failed(now_s, began_s=now_s)


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker(rules=RULES)
    fail(breaker, 1.0, 2)
    breaker.succeeded(1.0, began_s=1.0)
    fail(breaker, 1.0, 2)
    assert breaker.state(1.0) is BreakerState.CLOSED
    fail(breaker, 1.0)
    assert breaker.state(1.0) is BreakerState.OPEN
    assert breaker.refuses(2.9)
    assert breaker.status(2.0).retry_in_s == 1.0


def test_a_share_of_failures_opens_it() -> None:
    breaker = Breaker(rules=RULES)
    for turn in range(10):
        assert breaker.state(1.0) is BreakerState.CLOSED
        if turn % 2:
            fail(breaker, 1.0)
        else:
            breaker.succeeded(1.0, began_s=1.0)
    assert breaker.state(1.0) is BreakerState.OPEN


@pytest.mark.parametrize(("later_s", "state"), [(12.0, BreakerState.OPEN), (31.0, BreakerState.CLOSED)])
def test_calls_of_the_window_before_the_last_are_forgotten(later_s: float, state: BreakerState) -> None:
    breaker = Breaker(rules=RULES)
    for _ in range(4):
        fail(breaker, 1.0)
        breaker.succeeded(1.0, began_s=1.0)
    breaker.succeeded(later_s, began_s=later_s)
    fail(breaker, later_s)
    assert breaker.state(later_s) is state


def test_one_probe_at_a_time_and_its_success_closes_it() -> None:
    breaker = Breaker(rules=RULES)
    fail(breaker, 0.5, 3)
    assert breaker.state(2.5) is BreakerState.HALF_OPEN
    assert not breaker.refuses(2.5)
    breaker.began(2.5)
    assert breaker.refuses(2.6)
    breaker.succeeded(3.0, began_s=2.5)
    assert breaker.state(3.0) is BreakerState.CLOSED
    fail(breaker, 3.0, 2)
    assert breaker.state(3.0) is BreakerState.CLOSED, "it begins anew"


def test_probes_that_fail_double_the_time_up_to_a_cap() -> None:
    breaker = Breaker(rules=RULES)
    fail(breaker, 0.0, 3)
    now_s, waits = 0.0, []
    for _ in range(4):
        wait_s = breaker.status(now_s).retry_in_s
        waits.append(wait_s)
        now_s += wait_s
        fail(breaker, now_s)
    assert waits == [2.0, 4.0, 7.0, 7.0]
    assert breaker.status(now_s).opened == 5


def test_a_probe_that_says_nothing_makes_room_for_the_next() -> None:
    breaker = Breaker(rules=RULES)
    fail(breaker, 0.0, 3)
    breaker.began(2.0)
    breaker.ended(began_s=1.0)
    assert breaker.refuses(2.1), "another call's end is not the probe's"
    breaker.ended(began_s=2.0)
    assert not breaker.refuses(2.1)


def test_a_probe_that_never_ends_is_given_up() -> None:
    breaker = Breaker(rules=RULES)
    fail(breaker, 0.0, 3)
    breaker.began(2.0)
    assert breaker.refuses(500.0)
    assert not breaker.refuses(602.0)


@pytest.mark.parametrize("succeeds", [True, False])
def test_calls_that_began_before_it_opened_change_nothing(*, succeeds: bool) -> None:
    breaker = Breaker(rules=RULES)
    fail(breaker, 1.0, 3)
    before = breaker.status(1.5)
    (breaker.succeeded if succeeds else breaker.failed)(1.5, began_s=0.5)
    assert breaker.status(1.5) == before


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "none"]), st.floats(0, 5), st.floats(0, 3)), max_size=60))
def test_it_always_opens_again_for_a_probe(calls: list[tuple[str, float, float]]) -> None:
    breaker, now_s = Breaker(rules=RULES), 0.0
    for result, pause_s, took_s in calls:
        now_s += pause_s
        if breaker.refuses(now_s):
            assert breaker.status(now_s).retry_in_s <= RULES.max_open_s
            continue
        began_s = now_s
        breaker.began(began_s)
        now_s += took_s
        if result == "ok":
            breaker.succeeded(now_s, began_s=began_s)
        elif result == "fail":
            breaker.failed(now_s, began_s=began_s)
        else:
            breaker.ended(began_s=began_s)
        assert not breaker.refuses(now_s + RULES.max_open_s)


def test_breakers_tell_who_refuses_and_forget() -> None:
    clock = ManualClock(start_s=1e9)
    breakers = Breakers(clock=clock, rules=RULES)
    clock.advance(1.0)
    for _ in range(3):
        began_s = breakers.begin("a")
        assert began_s is not None
        breakers.failed("a", began_s=began_s)
    assert dict(breakers.refusing()) == {"a": "it keeps failing; tried again in 2.0 s"}
    assert breakers.begin("a") is None
    assert breakers.begin("a", anyway=True) is not None
    clock.advance(2.0)
    assert dict(breakers.refusing()) == {}
    probe_s = breakers.begin("a")
    assert probe_s is not None
    assert dict(breakers.refusing()) == {"a": "it kept failing; a first call tries it just now"}
    breakers.ended("a", began_s=probe_s)
    assert dict(breakers.refusing()) == {}
    breakers.forget("a")
    assert breakers.status("a").state is BreakerState.CLOSED
    assert breakers.status("a").opened == 0


def test_without_rules_none_ever_opens() -> None:
    breakers = Breakers(clock=ManualClock(), rules=None)
    for _ in range(100):
        breakers.failed("a", began_s=0.0)
    assert dict(breakers.refusing()) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [("failures", 0), ("failure_share", 0.0), ("failure_share", 1.5), ("open_s", 0), ("max_open_s", 1)],
)
def test_rules_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=field):
        BreakerRules(**{field: value})  # type: ignore[arg-type] # one field of several types
