"""Hours, days, weeks and months, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.decision import Period
from mixllm.errors import InvalidValueError


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        (Period(name="hour"), "2024-02-29T23:00", "2024-03-01T00:00"),
        (Period(name="day"), "2024-02-29", "2024-03-01"),
        (Period(name="week"), "2024-02-26", "2024-03-04"),
        (Period(name="month"), "2024-02-01", "2024-03-01"),
        (Period(seconds=1800), "2024-02-29T23:30", "2024-03-01T00:00"),
    ],
    ids=str,
)
def test_bounds(period: Period, start: str, end: str) -> None:
    assert period.bounds(at("2024-02-29T23:59:59")) == (at(start), at(end))
    assert period.bounds(at(start)) == (at(start), at(end)), "its first moment belongs to it"
    assert period.bounds(at(end))[0] == at(end), "and its last one to the next"


def test_a_year_ends_with_december() -> None:
    assert Period(name="month").bounds(at("2024-12-31T12:00")) == (at("2024-12-01"), at("2025-01-01"))


@given(
    st.sampled_from([Period(name="hour"), Period(name="week"), Period(name="month"), Period(seconds=7.5)]),
    st.floats(0, 4e9),
)
def test_periods_follow_each_other_without_a_gap(period: Period, time_s: float) -> None:
    start_s, end_s = period.bounds(time_s)
    assert start_s <= time_s < end_s
    assert period.bounds(end_s)[0] == end_s


@pytest.mark.parametrize("bad", [{}, {"name": "day", "seconds": 1.0}, {"seconds": 0.0}, {"name": "year"}])
def test_what_is_no_period_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        Period(**bad)


def test_it_says_what_it_is() -> None:
    assert (str(Period(name="day")), str(Period(seconds=90.0))) == ("day", "90 s")
