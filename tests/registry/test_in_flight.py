"""Calls under way."""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.clock import ManualClock
from mixllm.errors import InvalidValueError
from mixllm.registry import InFlight
from mixllm.registry.in_flight import CallUnderWay


def llm_of(call: CallUnderWay | None) -> str | None:
    return None if call is None else call.llm


def test_parameters_reach_their_attributes() -> None:
    clock = ManualClock()
    calls = InFlight(clock=clock, expire_after_s=7.0)
    assert calls.clock is clock
    assert calls.expire_after_s == 7.0
    assert InFlight(clock=clock).expire_after_s == 600.0


def test_a_call_says_who_asked_and_since_when() -> None:
    clock = ManualClock()
    calls = InFlight(clock=clock)
    started_s = clock.monotonic_s()
    calls.start("1", "a", key_id="key-1")
    clock.advance(5.0)
    assert calls.finish("1") == CallUnderWay(llm="a", key_id="key-1", started_s=started_s)


def test_counts_from_start_to_finish() -> None:
    calls = InFlight(clock=ManualClock())
    calls.start("1", "a")
    calls.start("2", "a")
    calls.start("3", "b")
    assert (calls.count("a"), calls.count("b"), calls.count("c")) == (2, 1, 0)
    assert calls.counts() == {"a": 2, "b": 1}
    assert llm_of(calls.finish("1")) == "a"
    assert calls.finish("1") is None
    assert calls.finish("unknown") is None
    assert calls.counts() == {"a": 1, "b": 1}
    assert llm_of(calls.finish("3")) == "b"
    assert calls.counts() == {"a": 1}


def test_forgotten_calls_expire() -> None:
    clock = ManualClock()
    calls = InFlight(clock=clock, expire_after_s=10.0)
    calls.start("1", "a")
    clock.advance(6.0)
    calls.start("2", "a")
    clock.advance(3.9)
    assert calls.count("a") == 2
    clock.advance(0.1)
    assert calls.count("a") == 1
    assert calls.finish("1") is None
    clock.advance(100.0)
    assert calls.counts() == {}
    assert calls.finish("2") is None


def test_a_call_that_starts_again_counts_once() -> None:
    calls = InFlight(clock=ManualClock())
    calls.start("1", "a")
    calls.start("1", "b")
    assert calls.counts() == {"b": 1}
    assert llm_of(calls.finish("1")) == "b"
    assert calls.counts() == {}


@given(st.lists(st.tuples(st.sampled_from("sfa"), st.integers(0, 8), st.sampled_from("xyz")), max_size=60))
def test_counts_are_those_of_a_plain_model(steps: list[tuple[str, int, str]]) -> None:
    clock = ManualClock()
    calls = InFlight(clock=clock, expire_after_s=5.0)
    known: dict[str, tuple[str, float]] = {}
    for kind, number, llm in steps:
        known = {one: call for one, call in known.items() if clock.monotonic_s() - call[1] < 5.0}
        if kind == "s":
            calls.start(str(number), llm)
            known[str(number)] = (llm, clock.monotonic_s())
        elif kind == "f":
            calls.finish(str(number))
            known.pop(str(number), None)
        else:
            clock.advance(number / 2)
            known = {one: call for one, call in known.items() if clock.monotonic_s() - call[1] < 5.0}
        expected = [llm for llm, _ in known.values()]
        assert calls.counts() == {name: expected.count(name) for name in set(expected)}


def test_threads_leave_nothing_behind() -> None:
    calls = InFlight(clock=ManualClock())
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait()
        for number in range(300):
            calls.start(f"{thread}-{number}", "ab"[number % 2])
            calls.counts()
            if number % 3:
                calls.finish(f"{thread}-{number}")

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(calls.counts().values()) == 8 * 100


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_an_expiry_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidValueError, match="expire_after_s must be"):
        InFlight(clock=ManualClock(), expire_after_s=seconds)
