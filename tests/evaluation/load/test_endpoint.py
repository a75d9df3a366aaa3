"""An endpoint: servers, queue, limits, times of trouble."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError
from mixllm.evaluation.load.endpoint import Endpoint, EndpointSpec, Outage, Refusal, SlowTime


def test_calls_wait_in_order_and_the_queue_has_an_end() -> None:
    endpoint = Endpoint(EndpointSpec(servers=1, max_queue=2))
    assert endpoint.take(0, work_s=5.0, tokens=1, now_s=0.0) == 5.0
    assert [endpoint.take(call, work_s=1.0, tokens=1, now_s=1.0) for call in (1, 2)] == [None, None]
    assert endpoint.refusal(2.0, tokens=1) == Refusal(status=429)
    assert endpoint.leave(now_s=5.0) == (1, 6.0)
    assert endpoint.refusal(5.0, tokens=1) is None
    assert endpoint.leave(now_s=6.0) == (2, 7.0)
    assert endpoint.leave(now_s=7.0) is None
    assert endpoint.busy == 0


def test_who_gives_up_is_not_served_and_makes_room() -> None:
    endpoint = Endpoint(EndpointSpec(servers=1, max_queue=2))
    for call in range(3):
        endpoint.take(call, work_s=1.0, tokens=1, now_s=0.0)
    endpoint.give_up(1)
    assert endpoint.waiting == 1
    assert endpoint.refusal(0.5, tokens=1) is None
    assert endpoint.leave(now_s=1.0) == (2, 2.0)
    assert endpoint.waiting == 0


def test_a_limit_of_requests_says_when_to_come_again() -> None:
    endpoint = Endpoint(EndpointSpec(servers=None, requests_per_minute=2))
    for now_s in (0.0, 10.0):
        assert endpoint.refusal(now_s, tokens=1) is None
        endpoint.take(int(now_s), work_s=1.0, tokens=1, now_s=now_s)
    assert endpoint.refusal(20.0, tokens=1) == Refusal(status=429, retry_after_s=40.0)
    assert endpoint.refusal(60.0, tokens=1) is None


def test_a_limit_of_tokens_waits_for_as_many_as_are_missing() -> None:
    endpoint = Endpoint(EndpointSpec(servers=None, tokens_per_minute=100))
    for now_s, tokens in ((0.0, 30), (5.0, 60)):
        endpoint.take(int(now_s), work_s=1.0, tokens=tokens, now_s=now_s)
    assert endpoint.refusal(10.0, tokens=10) is None
    assert endpoint.refusal(10.0, tokens=40) == Refusal(status=429, retry_after_s=50.0)
    assert endpoint.refusal(10.0, tokens=50) == Refusal(status=429, retry_after_s=55.0)
    assert endpoint.refusal(66.0, tokens=100) is None


def test_an_outage_refuses_new_calls_only() -> None:
    endpoint = Endpoint(EndpointSpec(servers=1), outages=[Outage(llm="a", from_s=1.0, until_s=2.0)])
    assert endpoint.take(0, work_s=3.0, tokens=1, now_s=0.5) == 3.5
    assert endpoint.refusal(1.0, tokens=1) == Refusal(status=503)
    assert endpoint.refusal(2.0, tokens=1) is None


@pytest.mark.parametrize(
    ("start_s", "work_s", "end_s"),
    [(0.0, 5.0, 5.0), (8.0, 4.0, 30.0), (8.0, 3.0, 20.0), (12.0, 1.0, 22.0), (25.0, 1.0, 30.5), (40.0, 2.0, 42.0)],
)
def test_slow_times_stretch_the_work_that_falls_into_them(start_s: float, work_s: float, end_s: float) -> None:
    endpoint = Endpoint(EndpointSpec(), slow=[SlowTime(llm="a", from_s=10.0, until_s=30.0, factor=10.0)])
    assert endpoint.end_s(start_s, work_s) == pytest.approx(end_s)


@given(start_s=st.floats(0, 50), work_s=st.floats(0, 20), more_s=st.floats(0, 20), factor=st.floats(0.2, 20))
def test_more_work_never_ends_sooner(start_s: float, work_s: float, more_s: float, factor: float) -> None:
    slow = [SlowTime(llm="a", from_s=5, until_s=9, factor=factor), SlowTime(llm="a", from_s=20, until_s=22, factor=2)]
    endpoint = Endpoint(EndpointSpec(), slow=slow)
    assert endpoint.end_s(start_s, work_s + more_s) >= endpoint.end_s(start_s, work_s) - 1e-9
    whole = endpoint.end_s(endpoint.end_s(start_s, work_s), more_s)
    assert endpoint.end_s(start_s, work_s + more_s) == pytest.approx(whole, abs=1e-6)


def test_bad_values_are_refused() -> None:
    for bad in ({"servers": 0}, {"max_queue": -1}, {"requests_per_minute": 0}, {"tokens_per_minute": 0}):
        with pytest.raises(InvalidValueError, match=next(iter(bad))):
            EndpointSpec(**bad)
    with pytest.raises(InvalidValueError, match="until_s"):
        Outage(llm="a", from_s=2.0, until_s=2.0)
    times = [
        SlowTime(llm="a", from_s=0.0, until_s=2.0, factor=2.0),
        SlowTime(llm="a", from_s=1.0, until_s=3.0, factor=2.0),
    ]
    with pytest.raises(InvalidValueError, match="slow"):
        Endpoint(EndpointSpec(), slow=times)
