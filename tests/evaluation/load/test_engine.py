"""The discrete events, against what queueing theory says, and counted to the last query."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.load.planted import Always, make_world

from mixllm.errors import InvalidValueError
from mixllm.evaluation.load.endpoint import EndpointSpec, Outage, SlowTime
from mixllm.evaluation.load.engine import End, Fate, run_stream
from mixllm.evaluation.load.figures import figures, timeline


def erlang_c_wait_s(*, servers: int, load: float, service_s: float) -> float:
    """Return the mean wait of M/M/c at a load of `load` in each server."""
    offered = load * servers
    busy = offered**servers / math.factorial(servers) / (1.0 - load)
    waits = busy / (sum(offered**k / math.factorial(k) for k in range(servers)) + busy)
    return waits * service_s / (servers * (1.0 - load))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (3, 0.6)])
def test_the_mean_wait_of_m_m_c(servers: int, load: float) -> None:
    rng = np.random.default_rng(11)
    n = 60_000
    arrivals_s = np.cumsum(rng.exponential(1.0 / (load * servers), n))
    world = make_world(rng.exponential(1.0, (n, 1)), arrivals_s)
    journey = run_stream(world, Always(0), endpoints=[EndpointSpec(servers=servers)], deadline_s=math.inf)
    expected = erlang_c_wait_s(servers=servers, load=load, service_s=1.0)
    assert journey.wait_s.mean() == pytest.approx(expected, rel=0.12)


def test_the_mean_wait_of_m_d_1() -> None:
    rng = np.random.default_rng(12)
    arrivals_s = np.cumsum(rng.exponential(1.0 / 0.7, 40_000))
    journey = run_stream(
        make_world(np.ones((40_000, 1)), arrivals_s), Always(0), endpoints=[EndpointSpec()], deadline_s=math.inf
    )
    assert journey.wait_s.mean() == pytest.approx(0.7 / (2 * (1 - 0.7)), rel=0.12)


@given(
    seed=st.integers(0, 2**32 - 1),
    servers=st.integers(1, 3),
    max_queue=st.one_of(st.none(), st.integers(0, 3)),
    rpm=st.one_of(st.none(), st.integers(1, 200)),
    attempts=st.integers(1, 2),
)
@settings(max_examples=60, deadline=None)
def test_every_arrival_ends_exactly_once(
    seed: int, servers: int, max_queue: int | None, rpm: int | None, attempts: int
) -> None:
    rng = np.random.default_rng(seed)
    n = 200
    world = make_world(rng.exponential(1.0, (n, 2)), np.sort(rng.uniform(0, 40, n)))
    spec = EndpointSpec(servers=servers, max_queue=max_queue, requests_per_minute=rpm)
    player = Always(*[0, 1][:attempts])
    journey = run_stream(
        world,
        player,
        endpoints=[spec, spec],
        deadline_s=3.0,
        slow=[SlowTime(llm="a", from_s=5.0, until_s=15.0, factor=10.0)],
        outages=[Outage(llm="b", from_s=10.0, until_s=20.0)],
    )
    assert set(journey.fate.tolist()) <= {int(fate) for fate in Fate}
    ends = [number for number, _, end in player.told if end is not End.REFUSED]
    assert len(ends) == len(set(ends))
    assert sorted(ends) == np.flatnonzero(journey.fate != Fate.REFUSED).tolist()
    assert (journey.llm[journey.fate == Fate.REFUSED] == -1).all()
    assert player.times == sorted(player.times)
    answered = journey.fate == Fate.ANSWERED
    assert (journey.latency_s[answered] <= 3.0).all()
    assert (journey.wait_s[answered] >= 0).all()
    if max_queue is not None:
        assert (journey.queue <= max_queue).all()
    one = figures(world, journey)
    assert one.missed + one.shed + answered.mean() == pytest.approx(1.0)
    assert sum(one.shares.values()) + one.shed == pytest.approx(1.0)


def test_what_is_late_is_paid_and_worth_nothing_and_who_gave_up_pays_nothing() -> None:
    world = make_world(np.array([[4.0], [4.0], [1.0]]), np.array([0.0, 1.0, 1.5]))
    journey = run_stream(world, Always(0), endpoints=[EndpointSpec()], deadline_s=5.0)
    assert journey.fate.tolist() == [Fate.ANSWERED, Fate.LATE, Fate.GAVE_UP]
    assert journey.wait_s.tolist() == [0.0, 3.0, 5.0]
    assert journey.latency_s.tolist() == [4.0, 7.0, math.inf]
    one = figures(world, journey)
    assert (one.quality, one.cost, one.missed, one.shed) == pytest.approx((1 / 3, 2 / 3, 2 / 3, 0.0))


def test_a_refusal_goes_to_the_next_llm_and_a_router_may_turn_away() -> None:
    world = make_world(np.full((3, 2), 10.0), np.array([0.0, 1.0, 2.0]))
    full = [EndpointSpec(max_queue=0)] * 2
    journey = run_stream(world, Always(0, 1), endpoints=full, deadline_s=60.0)
    assert journey.fate.tolist() == [Fate.ANSWERED, Fate.ANSWERED, Fate.REFUSED]
    assert journey.llm.tolist() == [0, 1, -1]
    assert run_stream(world, Always(None), endpoints=full, deadline_s=60.0).fate.tolist() == [Fate.SHED] * 3


def test_a_timeline_tells_when_an_llm_was_slow() -> None:
    world = make_world(np.full((400, 1), 0.5), np.arange(400.0))
    slow = [SlowTime(llm="a", from_s=100.0, until_s=200.0, factor=10.0)]
    journey = run_stream(world, Always(0), endpoints=[EndpointSpec(max_queue=2)], deadline_s=30.0, slow=slow)
    shown = timeline(world, journey, bins=4)
    assert shown.arrivals == [100, 100, 100, 100]
    waits = [wait or 0.0 for wait in shown.wait_s]
    assert waits[0] == 0.0
    assert waits[1] > 5.0
    assert shown.shed[1] > 0.5
    assert shown.shares["a"][1] == pytest.approx(1 - shown.shed[1])


def test_trouble_of_an_unknown_llm_is_refused() -> None:
    world = make_world(np.ones((1, 1)), np.zeros(1))
    with pytest.raises(InvalidValueError, match="nobody"):
        run_stream(
            world,
            Always(0),
            endpoints=[EndpointSpec()],
            deadline_s=1.0,
            outages=[Outage(llm="nobody", from_s=0.0, until_s=1.0)],
        )
