"""How many requests are still to come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.decision import Arrivals
from mixllm.errors import InvalidValueError

HOUR_S, DAY_S = 3600.0, 86_400.0


def test_parameters_reach_their_attributes() -> None:
    arrivals = Arrivals(start_s=5.0, memory_s=7.0, settle_s=9.0)
    assert (arrivals.memory_s, arrivals.settle_s) == (7.0, 9.0)
    for bad in ({"memory_s": 0.0}, {"settle_s": -1.0}):
        with pytest.raises(InvalidValueError):
            Arrivals(start_s=0.0, **bad)


def test_nothing_is_expected_of_what_was_never_watched() -> None:
    arrivals = Arrivals(start_s=100.0)
    assert arrivals.expected(100.0, 1e6) == 0.0


def test_a_burst_at_the_very_start_is_no_rate() -> None:
    arrivals = Arrivals(start_s=0.0, settle_s=900.0)
    for _ in range(50):
        arrivals.count(0.001)
    assert 50 < arrivals.expected(0.001, 3600.0) < 600


def test_an_even_rate_is_expected_to_go_on() -> None:
    arrivals = Arrivals(start_s=0.0, settle_s=1.0)
    for minute in range(1, 180):
        arrivals.count(minute * 60.0)
    assert arrivals.expected(3 * HOUR_S, 4 * HOUR_S) == pytest.approx(60, rel=0.02)
    assert arrivals.expected(3 * HOUR_S, 3 * HOUR_S + 30 * DAY_S) == pytest.approx(30 * 1440, rel=0.02)


def test_day_and_night_are_told_apart_from_the_second_day_on() -> None:
    arrivals = Arrivals(start_s=0.0)
    for day in range(2):
        for second in range(0, 86_400, 30):
            if second < 43_200 or second % 600 == 0:  # A twentieth by night.
                arrivals.count(day * DAY_S + second)
    by_day, by_night = (arrivals.expected(2 * DAY_S + at, 2 * DAY_S + at + 6 * HOUR_S) for at in (0.0, 43_200.0))
    assert by_day == pytest.approx(720, rel=0.15)
    assert by_night == pytest.approx(36, rel=1.0)


def test_a_new_habit_replaces_the_old_one() -> None:
    arrivals = Arrivals(start_s=0.0, memory_s=2 * HOUR_S)
    for second in range(0, 5 * 86_400, 100):
        arrivals.count(float(second))
    for second in range(5 * 86_400, 25 * 86_400, 1000):
        arrivals.count(float(second))
    assert arrivals.expected(25 * DAY_S, 26 * DAY_S) == pytest.approx(86.4, rel=0.1)


def test_a_long_silence_is_walked_through_in_no_time() -> None:
    arrivals = Arrivals(start_s=0.0)
    arrivals.count(1.0)
    arrivals.count(1e12)
    assert 0 < arrivals.expected(1e12, 1e12 + DAY_S) < 100


@given(
    gaps_s=st.lists(st.floats(-50, 5_000), min_size=2, max_size=60),
    at=st.floats(0, DAY_S),
    middle=st.floats(0, 1),
    length=st.floats(0, 3 * DAY_S),
)
def test_what_is_expected_adds_up_over_time(gaps_s: list[float], at: float, middle: float, length: float) -> None:
    arrivals = Arrivals(start_s=0.0)
    for time_s in np.cumsum(gaps_s).tolist():
        arrivals.count(time_s)
    cut = at + middle * length
    whole = arrivals.expected(at, at + length)
    assert whole >= 0
    assert whole == pytest.approx(arrivals.expected(at, cut) + arrivals.expected(cut, at + length), rel=1e-6, abs=1e-6)
