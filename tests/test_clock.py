"""Clocks."""

from __future__ import annotations

import math
import time

import pytest

from mixllm.clock import ManualClock, SystemClock
from mixllm.errors import InvalidValueError
from mixllm.interfaces import Clock


def test_the_system_clock_is_the_systems() -> None:
    clock: Clock = SystemClock()
    before = time.time()
    assert before <= clock.time_s() <= time.time()
    first = clock.monotonic_s()
    assert first <= clock.monotonic_s() <= time.monotonic()


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(start_s=1_000.0)
    assert clock.start_s == 1_000.0
    assert (clock.time_s(), clock.monotonic_s()) == (1_000.0, 0.0)
    clock.advance(2.5)
    clock.advance(0.0)
    assert (clock.time_s(), clock.monotonic_s()) == (1_002.5, 2.5)
    assert ManualClock().time_s() == 0.0


@pytest.mark.parametrize("seconds", [-1e-9, math.nan, math.inf])
def test_time_does_not_go_back(seconds: float) -> None:
    clock = ManualClock(start_s=5.0)
    with pytest.raises(InvalidValueError, match="seconds must be"):
        clock.advance(seconds)
    assert clock.time_s() == 5.0


@pytest.mark.parametrize("start_s", [math.nan, math.inf])
def test_a_start_out_of_range_is_refused(start_s: float) -> None:
    with pytest.raises(InvalidValueError, match="start_s must be"):
        ManualClock(start_s=start_s)
