"""The score, by hand and at its extremes."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.decision.forecasts import forecast

from mixllm.decision import ScoreWeights, score
from mixllm.errors import InvalidValueError

GIVEN: dict[str, Any] = {
    "trade_off": 3.0,
    "wait_weight": 0.2,
    "wait_steepness_per_s": 0.25,
    "wait_onset": 0.5,
    "deadline_s": 12.0,
}


def test_parameters_reach_their_attributes() -> None:
    weights = ScoreWeights(**GIVEN)
    assert {name: getattr(weights, name) for name in GIVEN} == GIVEN
    assert weights.quality_weight == 0.75


def test_defaults_are_the_papers() -> None:
    weights = ScoreWeights()
    assert (weights.trade_off, weights.wait_weight, weights.deadline_s) == (1.4, 0.1, 30.0)
    assert weights.quality_weight == pytest.approx(1.4 / 2.4)


def test_by_hand() -> None:
    """λ = 3: 3/4 of quality, 1/4 of relative cost; β = 0.2, γ = 0.25, ξτ = 6 s."""
    scores, stds = score(
        [
            forecast(quality=0.8, std=0.1, cost_usd=0.002, latency_s=6.0),
            forecast(quality=0.4, std=0.3, cost_usd=0.0, latency_s=2.0),
        ],
        weights=ScoreWeights(**GIVEN),
        cost_scale_usd=0.001,
    )
    assert scores[0] == pytest.approx(0.75 * 0.8 - 0.25 * 2.0 - 0.2 * 1.0)
    assert scores[1] == pytest.approx(0.75 * 0.4 - 0.2 * math.exp(0.25 * (2 - 6)))
    assert stds.tolist() == pytest.approx([0.075, 0.225])


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"trade_off": 1.0}, True),
        ({"wait_weight": 0.7}, True),
        ({"wait_steepness_per_s": 2.0}, True),
        ({"wait_onset": 0.9}, True),
        ({"deadline_s": 40.0}, True),
        ({}, False),
    ],
)
def test_every_weight_counts(change: dict[str, float], moved: bool) -> None:
    one = [forecast(latency_s=7.0)]
    before = score(one, weights=ScoreWeights(**GIVEN), cost_scale_usd=0.001)[0]
    after = score(one, weights=ScoreWeights(**{**GIVEN, **change}), cost_scale_usd=0.001)[0]
    assert bool(before[0] != after[0]) is moved


def test_adding_an_llm_never_moves_anothers_score() -> None:
    """LiteLLM normalises by the pool's minimum and maximum."""
    pool = [forecast(quality=0.7, cost_usd=1e-3), forecast(quality=0.5, cost_usd=1e-4)]
    before = score(pool, weights=ScoreWeights(), cost_scale_usd=2e-3)
    for new in (forecast(quality=1.0, cost_usd=10.0, latency_s=1e6), forecast(quality=0.0, cost_usd=0.0)):
        after = score([*pool, new], weights=ScoreWeights(), cost_scale_usd=2e-3)
        assert np.array_equal(after[0][:2], before[0])
        assert np.array_equal(after[1][:2], before[1])


@pytest.mark.parametrize("latency_s", [1e3, 1e6, 1e12, 1e300])
def test_huge_latencies_are_prohibitive_and_finite(latency_s: float) -> None:
    scores, _ = score(
        [forecast(latency_s=latency_s, quality=1.0), forecast(quality=0.0)],
        weights=ScoreWeights(),
        cost_scale_usd=1e-3,
    )
    assert np.isfinite(scores).all()
    assert scores[0] < scores[1] - 1e15


def test_of_llms_that_are_all_far_too_late_the_less_late_is_better() -> None:
    """In a jam every LLM is late; the choice must not fall on whichever comes first."""
    scores, _ = score(
        [forecast(latency_s=latency_s) for latency_s in (9_000.0, 3_000.0, 200.0, 124.1, 123.9)],
        weights=ScoreWeights(),
        cost_scale_usd=1e-3,
    )
    assert (np.diff(scores) > 0).all()


@given(
    quality=st.floats(0, 1),
    std=st.floats(0, 10),
    cost_usd=st.floats(0, 1e6),
    latency_s=st.floats(0, 1e12),
    trade_off=st.floats(0, 1e9),
    cost_scale_usd=st.floats(1e-9, 1e3),
)
def test_any_forecast_has_a_finite_score_that_falls_with_cost_and_time(
    quality: float, std: float, cost_usd: float, latency_s: float, trade_off: float, cost_scale_usd: float
) -> None:
    weights = ScoreWeights(trade_off=trade_off)
    scores, stds = score(
        [
            forecast(quality=quality, std=std, cost_usd=cost_usd, latency_s=latency_s),
            forecast(quality=quality, std=std, cost_usd=2 * cost_usd, latency_s=latency_s),
            forecast(quality=quality, std=std, cost_usd=cost_usd, latency_s=2 * latency_s),
            forecast(quality=quality / 2, std=std, cost_usd=cost_usd, latency_s=latency_s),
        ],
        weights=weights,
        cost_scale_usd=cost_scale_usd,
    )
    assert np.isfinite(scores).all()
    assert np.isfinite(stds).all()
    assert (scores[1:] <= scores[0]).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trade_off", -0.1),
        ("trade_off", math.nan),
        ("trade_off", math.inf),
        ("wait_weight", -1.0),
        ("wait_steepness_per_s", 0.0),
        ("wait_onset", 1.1),
        ("wait_onset", -0.1),
        ("queue_weight", -0.1),
        ("deadline_s", 0.0),
        ("deadline_s", math.inf),
    ],
)
def test_weights_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=f"^{name} must be"):
        ScoreWeights(**{**GIVEN, name: value})


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_cost_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(InvalidValueError, match="cost_scale_usd must be"):
        score([forecast()], weights=ScoreWeights(), cost_scale_usd=scale)


def test_a_forecast_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="score must be finite"):
        score([forecast(quality=math.nan)], weights=ScoreWeights(), cost_scale_usd=1.0)


def test_of_a_stream_the_wait_is_its_readers() -> None:
    """100 tokens are read in 10 s: an LLM that is done in 4 s keeps nobody waiting but for its first token."""
    weights = ScoreWeights(wait_weight=1.0, wait_steepness_per_s=1.0, wait_onset=0.0, deadline_s=1.0, trade_off=0.0)
    candidates = [forecast(cost_usd=0.0, latency_s=latency_s) for latency_s in (4.0, 9.0, 12.0)]
    scores, _ = score(candidates, weights=weights, cost_scale_usd=1.0, streamed=True)
    assert scores == pytest.approx([-math.exp(0.1), -math.exp(0.1), -math.exp(2.0)])
    plain, _ = score(candidates, weights=weights, cost_scale_usd=1.0)
    assert plain == pytest.approx([-math.exp(4.0), -math.exp(9.0), -math.exp(12.0)])


def test_a_queue_costs_in_proportion_and_service_does_not() -> None:
    free = forecast(latency_s=5.0)
    queued = [msgspec.structs.replace(free, wait_s=wait_s) for wait_s in (0.0, 3.0, 6.0)]
    weights = ScoreWeights(queue_weight=0.6, deadline_s=30.0)
    scores, _ = score(queued, weights=weights, cost_scale_usd=1e-3)
    assert np.diff(scores) == pytest.approx([-0.06, -0.06])
    without, _ = score(queued, weights=ScoreWeights(queue_weight=0.0), cost_scale_usd=1e-3)
    assert without.tolist() == [scores[0]] * 3
