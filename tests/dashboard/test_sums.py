"""Means, quantiles, groups and stretches of time: right, and in bounded memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.dashboard.groups import OTHERS, Groups
from mixllm.dashboard.means import StreamMean
from mixllm.dashboard.period import period_s
from mixllm.dashboard.quantiles import StreamQuantiles
from mixllm.dashboard.series_tally import SeriesTally
from mixllm.errors import InvalidValueError

numbers = st.lists(st.floats(0, 1e4), min_size=2, max_size=60)


@given(numbers, numbers)
def test_a_mean_is_numpy_s_also_put_together(one: list[float], other: list[float]) -> None:
    both, second = StreamMean(), StreamMean()
    for value in one:
        both.add(value)
    for value in other:
        second.add(value)
    both.absorb(second)
    measured = both.measured()
    assert measured is not None
    values = np.array(one + other)
    assert measured.count == len(values)
    assert measured.mean == pytest.approx(values.mean(), abs=1e-9)
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert measured.std_error == pytest.approx(error, rel=1e-6, abs=1e-6)
    assert measured.low == pytest.approx(values.mean() - 1.644854 * error, abs=1e-2)


def test_a_mean_of_one_number_does_not_say_how_sure_it_is() -> None:
    mean = StreamMean()
    assert mean.measured() is None
    mean.add(0.5)
    one = mean.measured()
    assert one is not None
    assert (one.mean, one.std_error, one.low, one.high, one.count) == (0.5, None, None, None, 1)


@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=200), st.sampled_from([0.05, 0.5, 0.95]))
def test_a_quantile_is_within_one_percent(values: list[float], share: float) -> None:
    stream = StreamQuantiles()
    for value in values:
        stream.add(value)
    exact = np.quantile(values, share, method="inverted_cdf")
    assert stream.quantile(share) == pytest.approx(exact, rel=0.0101)


def test_quantiles_leave_out_what_is_no_time() -> None:
    stream = StreamQuantiles()
    for value in (math.nan, math.inf, -1.0):
        stream.add(value)
    assert (stream.count, stream.quantile(0.5)) == (0, None)
    stream.add(0.0)
    assert stream.quantile(0.5) == pytest.approx(1e-6, rel=0.02)


def test_names_beyond_the_bound_share_one_tally() -> None:
    groups = Groups(StreamMean, most=3)
    for number in range(100):
        groups[f"key-{number}"].add(1.0)
    assert {name: one.count for name, one in groups.items()} == {"key-0": 1, "key-1": 1, "key-2": 1, OTHERS: 97}


@given(st.lists(st.floats(0, 3e7), min_size=1, max_size=300))
def test_stretches_stay_few_and_lose_nothing(times: list[float]) -> None:
    tally = SeriesTally()
    for at_s in times:
        tally.add(at_s, failed=True, cost_usd=1.0, compared=(2.0, 3.0), quality=0.5)
    series = tally.figures()
    assert len(series.slots) <= 101
    assert [slot.from_s for slot in series.slots] == sorted({at_s // series.width_s * series.width_s for at_s in times})
    assert sum(slot.decisions for slot in series.slots) == len(times)
    assert sum(slot.judged for slot in series.slots) == sum(slot.failed for slot in series.slots) == len(times)
    assert sum(slot.reference_cost_usd for slot in series.slots) == pytest.approx(3.0 * len(times))


def test_a_known_period_has_its_width_from_the_start() -> None:
    day, week = SeriesTally(86_400.0), SeriesTally(7 * 86_400.0)
    assert (day.figures().width_s, week.figures().width_s) == (900.0, 21_600.0)


@pytest.mark.parametrize("text", ["", "24", "h", "0h", "-1h", "1.5h", "1y", "1h ", "9999999999s", "٣h"])
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="since must be"):
        period_s(text)
