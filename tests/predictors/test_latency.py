"""Latency: planted times are found, changes are followed, and single calls cannot spoil it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError, StateError
from mixllm.predictors import LatencyForecast, LatencyPredictor


def call(
    model: LatencyPredictor,
    rng: np.random.Generator,
    *,
    ttft_s: float,
    tpot_s: float,
    streamed: bool,
    noise: float = 0.1,
) -> None:
    tokens = int(rng.integers(20, 600))
    first_s = ttft_s * rng.lognormal(0, noise)
    model.observe(
        latency_s=first_s + tpot_s * tokens * rng.lognormal(0, noise),
        tokens_out=tokens,
        ttft_s=first_s if streamed else None,
    )


def test_parameters_reach_their_attributes() -> None:
    model = LatencyPredictor(window_calls=37.0, prior_ttft_s=0.7, prior_tpot_s=0.03)
    assert (model.window_calls, model.prior_ttft_s, model.prior_tpot_s) == (37.0, 0.7, 0.03)
    clone = model.clone()
    assert (clone.window_calls, clone.prior_ttft_s, clone.prior_tpot_s) == (37.0, 0.7, 0.03)


def test_starts_from_its_prior() -> None:
    forecast = LatencyPredictor(prior_ttft_s=0.7, prior_tpot_s=0.03).forecast()
    assert forecast.ttft_s == pytest.approx(0.7)
    assert forecast.tpot_s == pytest.approx(0.03)
    assert forecast.relative_std == pytest.approx(0.5)
    assert forecast.latency_s(10).mean == pytest.approx(1.0)
    assert forecast.latency_s(10).std == pytest.approx(0.5)


@pytest.mark.parametrize("planted", [(0.4, 0.01), (3.0, 0.05), (0.05, 0.002)])
@pytest.mark.parametrize("kind", ["streamed", "plain", "mixed"])
def test_planted_times_are_found(planted: tuple[float, float], kind: str) -> None:
    ttft_s, tpot_s = planted
    rng = np.random.default_rng(1)
    model = LatencyPredictor(window_calls=200)
    for number in range(600):
        streamed = kind == "streamed" or (kind == "mixed" and number % 2 == 0)
        call(model, rng, ttft_s=ttft_s, tpot_s=tpot_s, streamed=streamed, noise=0.05)
    forecast = model.forecast()
    # The prior (1 s, 20 ms) stays worth two calls, which a fast LLM feels.
    assert forecast.tpot_s == pytest.approx(tpot_s, rel=0.1, abs=5e-4)
    assert forecast.latency_s(300).mean == pytest.approx(ttft_s + 300 * tpot_s, rel=0.05)
    if kind != "plain":  # Without streams only the sum is well known.
        assert forecast.ttft_s == pytest.approx(ttft_s, rel=0.3, abs=0.02)


@pytest.mark.parametrize("factor", [10.0, 0.1])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_change_of_speed_is_followed_within_some_tens_of_calls(factor: float, streamed: bool) -> None:
    """LiteLLM's window kept the oldest values; here the newest count, however many came before."""
    rng = np.random.default_rng(2)
    model = LatencyPredictor()
    for _ in range(1_000):
        call(model, rng, ttft_s=0.4, tpot_s=0.01, streamed=streamed)
    old_s, new_s = 0.4 + 300 * 0.01, factor * (0.4 + 300 * 0.01)
    assert model.forecast().latency_s(300).mean == pytest.approx(old_s, rel=0.1)
    for _ in range(60):
        call(model, rng, ttft_s=factor * 0.4, tpot_s=factor * 0.01, streamed=streamed)
    now_s = model.forecast().latency_s(300).mean
    assert abs(math.log(now_s / new_s)) < math.log(2.0)
    for _ in range(240):
        call(model, rng, ttft_s=factor * 0.4, tpot_s=factor * 0.01, streamed=streamed)
    assert model.forecast().latency_s(300).mean == pytest.approx(new_s, rel=0.1)


def test_a_slow_down_is_seen_after_a_few_calls() -> None:
    rng = np.random.default_rng(3)
    model = LatencyPredictor()
    for _ in range(1_000):
        call(model, rng, ttft_s=0.4, tpot_s=0.01, streamed=True)
    before_s = model.forecast().latency_s(300).mean
    for _ in range(10):
        call(model, rng, ttft_s=4.0, tpot_s=0.1, streamed=True)
    assert model.forecast().latency_s(300).mean > 1.5 * before_s


@pytest.mark.parametrize("hang_s", [60.0, 1e6, 1e308])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_single_hang_is_bounded(hang_s: float, streamed: bool) -> None:
    rng = np.random.default_rng(4)
    model = LatencyPredictor()
    for _ in range(300):
        call(model, rng, ttft_s=0.4, tpot_s=0.01, streamed=streamed)
    before = model.forecast().latency_s(300)
    model.observe(latency_s=hang_s, tokens_out=300, ttft_s=hang_s if streamed else None)
    after = model.forecast().latency_s(300)
    assert before.mean < after.mean < 1.3 * before.mean
    assert after.std < 3 * before.mean


def test_the_spread_is_learned() -> None:
    for noise, low, high in ((0.02, 0.0, 0.12), (0.6, 0.3, 1.2)):
        rng = np.random.default_rng(5)
        model = LatencyPredictor()
        for _ in range(400):
            call(model, rng, ttft_s=0.4, tpot_s=0.01, streamed=True, noise=noise)
        assert low < model.forecast().relative_std < high


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e300),
            st.integers(0, 2**53),
            st.none() | st.floats(0, 1e300),
        ),
        max_size=30,
    ),
    st.sampled_from([1.0, 2.0, 100.0, math.inf]),
)
def test_any_calls_leave_positive_finite_forecasts(
    calls: list[tuple[float, int, float | None]], window_calls: float
) -> None:
    model = LatencyPredictor(window_calls=window_calls)
    for latency_s, tokens_out, ttft_s in calls:
        model.observe(latency_s=latency_s, tokens_out=tokens_out, ttft_s=ttft_s)
        forecast = model.forecast()
        assert 0 < forecast.ttft_s < math.inf
        assert 0 < forecast.tpot_s < math.inf
        assert 0 <= forecast.relative_std <= 2.0
    other = model.clone()
    other.load_state(model.state())
    assert other.forecast() == model.forecast()


def test_falling_times_with_length_give_no_negative_time_per_token() -> None:
    model = LatencyPredictor()
    for _ in range(200):
        model.observe(latency_s=5.0, tokens_out=10)
        model.observe(latency_s=1.0, tokens_out=1_000)
    assert model.forecast().tpot_s > 0
    assert 1.0 < model.forecast().latency_s(100).mean < 5.0


@pytest.mark.parametrize(
    "change",
    [
        {"latency_s": -1.0},
        {"latency_s": math.nan},
        {"latency_s": math.inf},
        {"tokens_out": -1},
        {"tokens_out": 10**400},
        {"ttft_s": -0.1},
        {"ttft_s": math.nan},
    ],
)
def test_bad_calls_are_refused_and_change_nothing(change: dict[str, Any]) -> None:
    model = LatencyPredictor()
    model.observe(latency_s=1.0, tokens_out=50, ttft_s=0.3)
    before, forecast = model.state(), model.forecast()
    with pytest.raises(InvalidValueError):
        model.observe(**{"latency_s": 1.0, "tokens_out": 10, "ttft_s": 0.5, **change})
    assert all(np.array_equal(before[name], model.state()[name]) for name in before)
    assert model.forecast() == forecast


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window_calls", 0.99),
        ("window_calls", math.nan),
        ("prior_ttft_s", 0.0),
        ("prior_ttft_s", math.inf),
        ("prior_tpot_s", -0.1),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=f"^{name} must be"):
        LatencyPredictor(**{name: value})


def trained(seed: int, *, calls: int = 30) -> LatencyPredictor:
    rng = np.random.default_rng(seed)
    model = LatencyPredictor()
    for number in range(calls):
        call(model, rng, ttft_s=0.3 + 0.1 * seed, tpot_s=0.02, streamed=number % 3 == 0)
    return model


def test_merging_commutes_and_adds_up() -> None:
    one, other = trained(1), trained(2, calls=50)
    one.merge(trained(2, calls=50))
    other.merge(trained(1))
    assert one.observations == pytest.approx(other.observations)
    assert one.forecast().ttft_s == pytest.approx(other.forecast().ttft_s)
    assert one.forecast().tpot_s == pytest.approx(other.forecast().tpot_s)
    with pytest.raises(InvalidValueError, match="a predictor with"):
        one.merge(LatencyPredictor(window_calls=7))


def test_state_round_trip_goes_on_alike() -> None:
    model = trained(1)
    other = LatencyPredictor()
    other.load_state({name: array.copy() for name, array in model.state().items()})
    assert other.forecast() == model.forecast()
    model.observe(latency_s=3.0, tokens_out=70)
    other.observe(latency_s=3.0, tokens_out=70)
    assert other.forecast() == model.forecast()
    model.state()["gram"][:] = 0
    assert other.forecast() == model.forecast()


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"gram": np.zeros((2, 2)), "moment": np.zeros(2)},
        {"gram": np.zeros((2, 2)), "moment": np.zeros(2), "sums": np.zeros(2), "x": np.zeros(1)},
        {"gram": np.zeros((3, 3)), "moment": np.zeros(2), "sums": np.zeros(2)},
        {"gram": np.full((2, 2), np.nan), "moment": np.zeros(2), "sums": np.zeros(2)},
        {"gram": np.full((2, 2), np.inf), "moment": np.zeros(2), "sums": np.zeros(2)},
        {"gram": np.array([[1.0, 9.0], [9.0, 1.0]]), "moment": np.zeros(2), "sums": np.zeros(2)},
        {"gram": np.array([[1.0, 0.5], [0.1, 1.0]]), "moment": np.zeros(2), "sums": np.zeros(2)},
        {"gram": -np.eye(2), "moment": np.zeros(2), "sums": np.zeros(2)},
        {"gram": np.eye(2), "moment": -np.ones(2), "sums": np.zeros(2)},
        {"gram": np.eye(2), "moment": np.array([np.inf, 0]), "sums": np.zeros(2)},
        {"gram": np.eye(2), "moment": np.full(2, 1e300), "sums": np.zeros(2)},
        {"gram": np.eye(2), "moment": np.ones(2), "sums": np.array([-1.0, 1.0])},
        {"gram": np.eye(2), "moment": np.ones(2), "sums": np.zeros(3)},
        {"gram": np.eye(2), "moment": np.ones(2), "sums": np.array(["a", "b"])},
    ],
)
def test_damaged_state_is_refused_and_changes_nothing(state: dict[str, Any]) -> None:
    model = trained(1)
    before, forecast = model.state(), model.forecast()
    with pytest.raises(StateError, match="Load another checkpoint"):
        model.load_state(state)
    assert all(np.array_equal(before[name], model.state()[name]) for name in before)
    assert model.forecast() == forecast


def test_a_forecast_by_hand() -> None:
    forecast = LatencyForecast(ttft_s=0.5, tpot_s=0.02, relative_std=0.1)
    assert forecast.latency_s(0).mean == 0.5
    assert forecast.latency_s(100).mean == 2.5
    assert forecast.latency_s(100).std == 0.25
