"""The test for a change of quality: seldom wrong where nothing changes, quick where something does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.learning.drift import Drift, DriftTest
from mixllm.types import Estimate

SURE = 0.02
PLANTED = 10_000.0


def alarms(qualities: NDArray[np.float64], means: NDArray[np.float64], *, answers: float = PLANTED) -> list[Drift]:
    test, found = DriftTest(answers_per_false_alarm=answers), []
    for quality, mean in zip(qualities.tolist(), means.tolist(), strict=True):
        drift = test.add(quality, Estimate(mean=mean, std=SURE))
        if drift is not None:
            found.append(drift)
            test.restart()
    return found


@pytest.mark.parametrize("kind", ["right or wrong", "graded", "nearly always right"])
def test_fewer_than_one_false_alarm_in_ten_thousand_answers(kind: str) -> None:
    rng = np.random.default_rng(0)
    count = 200_000
    low, high = (0.9, 1.0) if kind == "nearly always right" else (0.1, 0.95)
    means = rng.uniform(low, high, count)
    if kind == "graded":
        qualities = rng.beta(5 * means, 5 * (1 - means))
    else:
        qualities = (rng.uniform(size=count) < means).astype(np.float64)
    assert len(alarms(qualities, means)) < count / PLANTED


def test_the_bound_holds_without_any_tolerance() -> None:
    """The worst case that the guarantee is for: 0/1 qualities whose mean is exactly at the edge of the tolerance."""
    rng = np.random.default_rng(1)
    count, answers = 100_000, 500.0
    means = np.full(count, 0.7)
    qualities = (rng.uniform(size=count) < 0.7 - (0.05 + 2 * SURE)).astype(np.float64)
    found = alarms(qualities, means, answers=answers)
    assert 0 < len(found) <= count / answers
    assert set(found) == {Drift.FALL}


@pytest.mark.parametrize("before", [0.6, 0.8, 0.95])
def test_half_of_the_quality_lost_is_noticed_within_200_answers(before: float) -> None:
    rng = np.random.default_rng(2)
    delays = []
    for _ in range(200):
        test = DriftTest(answers_per_false_alarm=PLANTED)
        for _ in range(100):
            assert test.add(float(rng.uniform() < before), Estimate(mean=before, std=SURE)) is None
        delay = 1
        while test.add(float(rng.uniform() < before / 2), Estimate(mean=before, std=SURE)) is not Drift.FALL:
            delay += 1
        delays.append(delay)
        assert test.run_of(Drift.FALL) <= delay + 60, "the change is dated about right"
    assert np.median(delays) < 100
    assert np.quantile(delays, 0.95) <= 200


def test_a_rise_is_noticed_too() -> None:
    rng = np.random.default_rng(3)
    means = np.full(300, 0.4)
    assert alarms((rng.uniform(size=300) < 0.85).astype(np.float64), means)[0] is Drift.RISE


def test_what_is_unsure_is_given_time() -> None:
    """A new LLM's forecast may be far off; that is no change."""
    test = DriftTest(answers_per_false_alarm=PLANTED)
    assert [test.add(0.5, Estimate(mean=0.8, std=0.15)) for _ in range(500)] == [None] * 500


@given(
    qualities=st.lists(st.floats(-5, 5), max_size=40),
    mean=st.floats(-1, 2),
    std=st.floats(0, 1e6),
    weight=st.floats(1e-6, 1e6),
)
def test_the_statistic_is_a_share_of_the_threshold(
    qualities: list[float], mean: float, std: float, weight: float
) -> None:
    test = DriftTest(answers_per_false_alarm=PLANTED)
    for quality in qualities:
        if test.add(quality, Estimate(mean=mean, std=std), weight=weight) is not None:
            test.restart()
        assert 0 <= test.statistic < 1


def test_alarms_are_counted_and_dated_and_survive_a_restart() -> None:
    test = DriftTest(answers_per_false_alarm=100.0)
    assert test.last_alarm_s is None
    for place in range(60):
        if test.add(0.0, Estimate(mean=0.9, std=SURE), at_s=1000.0 + place):
            break
    assert test.alarms == {Drift.FALL: 1, Drift.RISE: 0}
    assert test.state()[-1] == 1000.0 + place
    other = DriftTest(answers_per_false_alarm=100.0)
    other.load_state(test.state())
    assert other.state().tolist() == test.state().tolist()
    assert (other.last_alarm_s, other.statistic, other.run) == (test.last_alarm_s, test.statistic, test.run)


def test_an_alarm_that_is_not_believed_waits_at_the_threshold() -> None:
    test, forecast = DriftTest(answers_per_false_alarm=PLANTED), Estimate(mean=0.9, std=SURE)
    assert not any(test.add(0.0, forecast, believed=lambda _: False) for _ in range(200))
    assert (test.statistic, test.alarms[Drift.FALL]) == (1.0, 0)
    assert test.gains[Drift.FALL] > 0 > test.gains[Drift.RISE]
    assert test.add(0.0, forecast) is Drift.FALL


@pytest.mark.parametrize("state", [np.zeros(6), np.full(7, -1.0), np.array([0, 0, 0, 0, 0, 0, math.nan])])
def test_a_damaged_state_is_refused(state: NDArray[np.float64]) -> None:
    test = DriftTest(answers_per_false_alarm=PLANTED)
    with pytest.raises(StateError, match="Load another checkpoint"):
        test.load_state(state)
    assert test.statistic == 0


def test_a_rate_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="answers_per_false_alarm must be"):
        DriftTest(answers_per_false_alarm=0.0)
