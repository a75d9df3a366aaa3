"""What is going on at each LLM, and what it refuses."""

from __future__ import annotations

import math

from mixllm.clock import ManualClock
from mixllm.registry import Traffic
from mixllm.types import LLMSpec

SPECS = (LLMSpec(name="a", tokens_per_minute=1_000), LLMSpec(name="b"))


def waits(traffic: Traffic, tokens: float = 1.0) -> list[float]:
    holds = traffic.holds(SPECS, tokens=tokens)
    return [0.0, 0.0] if holds is None else [0.0 if hold is None else hold.wait_s for hold in holds]


def test_a_call_counts_from_start_to_finish() -> None:
    traffic = Traffic(clock=ManualClock())
    traffic.start("1", "a")
    traffic.start("2", "a")
    assert traffic.counts() == {"a": 2}
    assert traffic.finish("1") is not None
    assert traffic.finish("1") is None
    assert traffic.counts() == {"a": 1}


def test_tokens_are_reserved_and_settled() -> None:
    traffic = Traffic(clock=ManualClock())
    traffic.start("1", "a", tokens=1_000)
    assert waits(traffic) == [61.0, 0.0]
    traffic.finish("1", tokens=100)
    assert waits(traffic, tokens=900) == [0.0, 0.0]
    traffic.start("2", "a", tokens=900)
    traffic.finish("2")
    assert waits(traffic) == [61.0, 0.0]


def test_what_an_endpoint_asks_for_is_bounded_and_ends() -> None:
    clock = ManualClock()
    traffic = Traffic(clock=clock, max_cooldown_s=20.0)
    traffic.refused("b", 1e9)
    holds = traffic.holds(SPECS, tokens=1.0)
    assert holds is not None
    assert holds[1] is not None
    assert holds[1].reason == "its endpoint refused and asked to wait, 20.0 s are left"
    clock.advance(19.0)
    assert waits(traffic) == [0.0, 1.0]
    traffic.refused("b", 0.5)  # A shorter wish does not end a longer one.
    assert waits(traffic) == [0.0, 1.0]
    clock.advance(1.0)
    assert traffic.holds(SPECS, tokens=1.0) is None
    assert traffic.refusals() == {"b": 2}


def test_a_wish_without_a_time_is_short_and_nonsense_is_none() -> None:
    traffic = Traffic(clock=ManualClock())
    traffic.refused("a")
    traffic.refused("b", -5.0)
    assert waits(traffic) == [1.0, 0.0]
    traffic.refused("b", math.nan)
    assert waits(traffic)[1] <= 60.0
