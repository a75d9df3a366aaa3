"""Latency: planted times are recovered, changes are followed and forgotten, state adds up, bad calls change nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.predictors.latency.calls import call, slowness

from mixllm.errors import InvalidValueError, StateError
from mixllm.predictors import LatencyPredictor, TimedCall, is_former_state


def trained(seed: int, *, calls: int = 200, **planted: Any) -> LatencyPredictor:
    rng = np.random.default_rng(seed)
    model = LatencyPredictor()
    for _ in range(calls):
        model.observe(call(rng, **planted))
    return model


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("ttft_s", "per_token_in_s", "tpot_s"), [(0.2, 0.0002, 0.005), (2.0, 0.0, 0.05)])
def test_planted_times_are_recovered(streamed: bool, ttft_s: float, per_token_in_s: float, tpot_s: float) -> None:
    model = trained(1, calls=800, streamed=streamed, ttft_s=ttft_s, per_token_in_s=per_token_in_s, tpot_s=tpot_s)
    forecast = model.forecast()
    shape = forecast.streamed if streamed else forecast.plain
    level = math.exp(forecast.level.log())
    assert level * shape.ttft_s(2_000) == pytest.approx(ttft_s + 2_000 * per_token_in_s, rel=0.1)
    assert level * shape.per_token_out_s == pytest.approx(tpot_s, rel=0.05)
    assert level * shape.latency_s(2_000, 300) == pytest.approx(
        ttft_s + 2_000 * per_token_in_s + 300 * tpot_s, rel=0.05
    )
    if streamed:
        assert shape.per_token_in_s == pytest.approx(per_token_in_s, rel=0.15, abs=5e-5)


def test_streamed_and_plain_calls_are_kept_apart() -> None:
    rng = np.random.default_rng(2)
    model = LatencyPredictor()
    for _ in range(500):
        model.observe(call(rng, ttft_s=0.3, streamed=True))
        model.observe(call(rng, ttft_s=2.0, streamed=False))
    forecast = model.forecast()
    assert forecast.streamed.ttft_s(2_000) == pytest.approx(0.3, rel=0.1)
    assert forecast.plain.ttft_s(2_000) == pytest.approx(2.0, rel=0.15)


def test_few_calls_of_one_kind_lean_on_the_other() -> None:
    model = trained(3, calls=400, streamed=True, ttft_s=0.3, tpot_s=0.005)
    unseen = model.forecast().plain
    assert unseen == model.forecast().streamed
    model.observe(TimedCall(latency_s=1.0, tokens_out=100, tokens_in=300))
    assert model.forecast().plain.latency_s(300, 100) == pytest.approx(unseen.latency_s(300, 100), rel=0.1)


def test_ten_times_slower_is_known_within_ten_answers_and_fast_again_as_soon() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        model = LatencyPredictor()
        for place in range(300):
            model.observe(call(rng, noise=0.2, at_s=float(place)))
        usual_s = 0.4 + 0.01 * 300
        assert 0.8 < slowness(model, usual_s=usual_s) < 1.25
        for place in range(9):
            model.observe(call(rng, noise=0.2, factor=10.0, at_s=300.0 + place))
        assert 5.0 < slowness(model, usual_s=usual_s) < 13.0
        for place in range(11):
            model.observe(call(rng, noise=0.2, factor=10.0, at_s=310.0 + place))
        assert 6.0 < slowness(model, usual_s=usual_s) < 13.0
        for place in range(10):
            model.observe(call(rng, noise=0.2, at_s=330.0 + place))
        assert slowness(model, usual_s=usual_s) < 1.6


def test_without_calls_slowness_is_let_go_within_a_minute_and_one_slow_answer_brings_it_back() -> None:
    rng = np.random.default_rng(4)
    model = LatencyPredictor()
    for place in range(300):
        model.observe(call(rng, noise=0.2, at_s=float(place)))
    for place in range(15):
        model.observe(call(rng, noise=0.2, factor=10.0, at_s=300.0 + place))
    usual_s = 0.4 + 0.01 * 300
    relaxing = [slowness(model, usual_s=usual_s, idle_s=idle_s) for idle_s in (0.0, 15.0, 30.0, 45.0, 60.0)]
    assert relaxing == sorted(relaxing, reverse=True)
    assert relaxing[0] > 6.0
    assert relaxing[3] < 2.5
    assert relaxing[4] < 1.6
    slow = TimedCall(latency_s=34.0, tokens_out=300, tokens_in=300, at_s=315.0 + 45.0 + 34.0)
    model.observe(slow)
    assert slowness(model, usual_s=usual_s) > 2.5


def test_old_times_are_forgotten_and_the_newest_count() -> None:
    rng = np.random.default_rng(5)
    model = LatencyPredictor(window_calls=50)
    for _ in range(300):
        model.observe(call(rng, factor=1.0))
    for _ in range(600):
        model.observe(call(rng, factor=3.0))
    shape = model.forecast().plain
    assert shape.latency_s(300, 300) == pytest.approx(3.0 * 3.4, rel=0.1)  # the long run itself, not the level
    assert abs(model.forecast().level.log()) < 0.15


@pytest.mark.parametrize("hang_s", [60.0, 1e6, 1e308])
def test_a_single_hang_is_bounded_and_soon_forgotten(hang_s: float) -> None:
    model = trained(6, calls=300)
    model.observe(TimedCall(latency_s=hang_s, tokens_out=300, tokens_in=300))
    assert slowness(model, usual_s=3.4) < 4.0
    rng = np.random.default_rng(7)
    for _ in range(6):
        model.observe(call(rng))
    assert slowness(model, usual_s=3.4) < 1.3


def test_the_spread_is_learned() -> None:
    for noise, low, high in ((0.02, 0.0, 0.12), (0.6, 0.3, 1.2)):
        assert low < trained(8, calls=400, noise=noise).forecast().relative_std < high


def test_cache_hits_teach_no_times_but_tell_of_a_slow_llm() -> None:
    model = trained(9)
    before = model.state()
    for _ in range(20):
        quick = TimedCall(latency_s=0.01, tokens_out=300, tokens_in=300, cached=True)
        assert model.observe(quick) is None
    assert all(np.array_equal(before[name], array) for name, array in model.state().items())
    for _ in range(10):
        model.observe(TimedCall(latency_s=34.0, tokens_out=300, tokens_in=300, cached=True))
    assert slowness(model, usual_s=3.4) > 5.0


def test_what_kinds_of_queries_add_is_told_only_once_the_lengths_are_known() -> None:
    rng = np.random.default_rng(10)
    model = LatencyPredictor()
    early = [model.observe(call(rng)) for _ in range(15)]
    assert early == [None] * 15
    for _ in range(100):
        model.observe(call(rng))
    log_pace = model.observe(TimedCall(latency_s=6.8, tokens_out=300, tokens_in=300))
    assert log_pace == pytest.approx(math.log(2.0), abs=0.2)


times = st.floats(0, 1e300)
any_calls = st.builds(
    TimedCall,
    latency_s=times,
    tokens_out=st.integers(0, 2**40),
    tokens_in=st.integers(0, 2**40),
    ttft_s=st.none() | times,
    in_flight=st.integers(0, 10_000),
    max_in_flight=st.none() | st.integers(1, 100),
    at_s=st.floats(-1e9, 1e10),
    cached=st.booleans(),
    log_pace=st.floats(-1.6, 1.6),
    expected_tokens_out=st.none() | st.floats(0, 1e6),
    length_log_std=st.floats(0, 5),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(any_calls, max_size=25), st.sampled_from([1.0, 2.0, 300.0, math.inf]))
def test_any_calls_leave_positive_finite_forecasts_and_a_state_that_loads(
    calls: list[TimedCall], window_calls: float
) -> None:
    model = LatencyPredictor(window_calls=window_calls)
    for one in calls:
        model.observe(one)
        forecast = model.forecast()
        for shape in (forecast.plain, forecast.streamed):
            assert 0 < shape.base_s < math.inf
            assert 0 <= shape.per_token_in_s < math.inf
            assert 0 < shape.per_token_out_s < math.inf
        assert math.isfinite(forecast.level.log())
        assert 0 < forecast.relative_std <= 2.0
        assert forecast.capacity >= 1
    other = model.clone()
    other.load_state(model.state())
    assert other.forecast() == model.forecast()


@pytest.mark.parametrize(
    "change",
    [
        {"latency_s": -1.0},
        {"latency_s": math.nan},
        {"latency_s": math.inf},
        {"tokens_out": -1},
        {"tokens_in": -1},
        {"ttft_s": math.nan},
        {"in_flight": -1},
        {"max_in_flight": 0},
        {"at_s": math.inf},
        {"log_pace": 9.0},
        {"expected_tokens_out": math.nan},
        {"length_log_std": -1.0},
    ],
)
def test_calls_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=f"^{next(iter(change))} must be"):
        TimedCall(**{"latency_s": 1.0, "tokens_out": 10, **change})


@pytest.mark.parametrize(
    ("name", "value"),
    [("window_calls", 0.99), ("window_calls", math.nan), ("prior_ttft_s", 0.0), ("prior_tpot_s", -0.1)],
)
def test_parameters_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=f"^{name} must be"):
        LatencyPredictor(**{name: value})


def test_merging_commutes_and_adds_up() -> None:
    one, other = trained(1, at_s=5.0), trained(2, calls=50, at_s=9.0, factor=2.0)
    first, second = trained(1, at_s=5.0), trained(2, calls=50, at_s=9.0, factor=2.0)
    one.merge(second)
    other.merge(first)
    assert one.observations == pytest.approx(first.observations + second.observations)
    assert one.forecast().plain.latency_s(300, 300) == pytest.approx(other.forecast().plain.latency_s(300, 300))
    assert one.forecast().level == other.forecast().level  # the newer one's
    with pytest.raises(InvalidValueError, match="a predictor with"):
        one.merge(LatencyPredictor(window_calls=7))


def test_state_round_trip_goes_on_alike() -> None:
    model, other = trained(1), LatencyPredictor()
    other.load_state({name: array.copy() for name, array in model.state().items()})
    assert other.forecast() == model.forecast()
    more = TimedCall(latency_s=3.0, tokens_out=70, in_flight=3)
    model.observe(more)
    other.observe(more)
    assert other.forecast() == model.forecast()
    for array in model.state().values():
        array[...] = 0
    assert other.forecast() == model.forecast()
    assert all(not array.any() for array in LatencyPredictor().state().values())
    assert model.clone().observations == 0


def damaged_states() -> list[dict[str, Any]]:
    good = trained(1).state()
    bad: list[dict[str, Any]] = [{}, {**good, "x": np.zeros(1)}]
    for name, array in good.items():
        bad.append({other: values for other, values in good.items() if other != name})
        bad.append({**good, name: array[:1]})
        bad.append({**good, name: array.astype("<U8")})
        for value in (math.nan, math.inf):
            spoilt = array.copy()
            spoilt.flat[-1] = value
            bad.append({**good, name: spoilt})
    bad.append({**good, "sums": -np.ones(4)})
    bad.append({**good, "gram": np.array([[[1.0, 9.0, 0.0], [9.0, 1.0, 0.0], [0.0, 0.0, 1.0]]] * 2)})
    bad.append({**good, "gram": np.array([[[1.0, 0.5, 0.0], [0.1, 1.0, 0.0], [0.0, 0.0, 1.0]]] * 2)})
    return bad


@pytest.mark.parametrize("place", range(len(damaged_states())))
def test_damaged_state_is_refused_and_changes_nothing(place: int) -> None:
    model = trained(2, calls=20)
    before, forecast = model.state(), model.forecast()
    with pytest.raises(StateError, match="Load another checkpoint"):
        model.load_state(damaged_states()[place])
    assert all(np.array_equal(before[name], model.state()[name]) for name in before)
    assert model.forecast() == forecast


def test_former_states_are_known_as_such() -> None:
    former = {"gram": np.zeros((2, 2)), "moment": np.zeros(2), "sums": np.zeros(2)}
    assert is_former_state(former)
    assert is_former_state({})
    assert not is_former_state(trained(1, calls=3).state())
    assert not is_former_state({"gram": np.zeros((2, 2)), "moment": np.zeros(2)})
