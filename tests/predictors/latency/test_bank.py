"""Forecasts of many LLMs at once: coverage on planted times, order of quantiles, waits, probes, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.predictors.latency.calls import call
from tests.predictors.latency.test_predictor import any_calls

from mixllm.predictors import LatencyBank, LatencyColumns, LatencyPredictor, TimedCall

Draw = Callable[[np.random.Generator], float]


def forecast(
    bank: LatencyBank, *, tokens_out: float = 300.0, log_variance: float = 0.0, **other: object
) -> LatencyColumns:
    count = len(bank)
    return bank.forecast(
        **{  # type: ignore[arg-type]
            "tokens_in": 300,
            "tokens_out": np.full(count, tokens_out),
            "length_log_variance": np.full(count, log_variance),
            **other,
        }
    )


@pytest.mark.parametrize(
    "noise",
    [
        lambda rng: math.exp(0.2 * rng.normal()),
        lambda rng: math.exp(0.8 * rng.normal()),
        lambda rng: 1.0 + float(rng.pareto(1.8)),
        lambda rng: float(rng.exponential()) + 0.05,
        lambda rng: math.exp(0.15 * rng.normal()) * (1.0 if rng.random() < 0.8 else 4.0),
    ],
    ids=["narrow", "wide", "heavy tail", "exponential", "two speeds"],
)
@pytest.mark.parametrize("log_std", [0.0, 0.7], ids=["known lengths", "unknown lengths"])
def test_intervals_and_tails_hold_as_often_as_they_say(noise: Draw, log_std: float) -> None:
    rng = np.random.default_rng(1)
    model = LatencyPredictor()
    inside, held, told = 0, 0, 0
    for number in range(1_500):
        middle = math.exp(rng.uniform(3.0, 6.0))
        tokens_out = middle * math.exp(log_std * rng.normal())
        expected = middle * math.exp(log_std**2 / 2)
        latency_s = (0.3 + 0.01 * tokens_out) * noise(rng)
        if number >= 300:
            bank = LatencyBank([model.forecast()])
            made = forecast(bank, tokens_out=expected, log_variance=log_std**2, tail=0.9)
            told += 1
            inside += bool(made.latency_low_s[0] <= latency_s <= made.latency_high_s[0])
            held += bool(latency_s <= made.latency_tail_s[0])
        model.observe(
            TimedCall(
                latency_s=latency_s,
                tokens_out=tokens_out,
                tokens_in=300,
                expected_tokens_out=expected,
                length_log_std=log_std,
            )
        )
    assert 0.85 <= inside / told <= 0.95
    assert 0.86 <= held / told <= 0.94


@settings(max_examples=40, deadline=None)
@given(
    st.lists(any_calls, max_size=15),
    st.integers(0, 10**6),
    st.floats(1, 1e6),
    st.floats(0, 20),
    st.integers(0, 500),
    st.booleans(),
    st.floats(0.01, 0.99),
)
def test_forecasts_are_finite_and_in_order(
    calls: list[TimedCall],
    tokens_in: int,
    tokens_out: float,
    log_variance: float,
    in_flight: int,
    streamed: bool,
    tail: float,
) -> None:
    model = LatencyPredictor()
    for one in calls:
        model.observe(one)
    bank = LatencyBank([model.forecast(), LatencyPredictor().forecast()])

    def at(**change: object) -> LatencyColumns:
        usual = {"tokens_in": tokens_in, "in_flight": [in_flight, 0], "streamed": streamed, "tail": tail, "now_s": 2e10}
        return forecast(bank, tokens_out=tokens_out, log_variance=log_variance, **{**usual, **change})

    made = at()
    assert all(np.isfinite(column).all() and (column >= 0).all() for column in made)
    assert (made.latency_low_s <= made.latency_s).all()
    assert (made.latency_s <= made.latency_high_s).all()
    higher = at(tail=(1.0 + tail) / 2)
    assert (higher.latency_tail_s >= made.latency_tail_s).all()
    assert (higher.ttft_tail_s >= made.ttft_tail_s).all()
    longer = at(tokens_in=2 * tokens_in + 1)
    assert (longer.ttft_s >= made.ttft_s * (1 - 1e-12)).all()
    busier = at(in_flight=[in_flight + 5, 5])
    assert (busier.wait_s >= made.wait_s * (1 - 1e-12)).all()


def slowed() -> LatencyPredictor:
    rng = np.random.default_rng(2)
    model = LatencyPredictor()
    for place in range(200):
        model.observe(call(rng, at_s=float(place)))
    for place in range(15):
        model.observe(call(rng, factor=10.0, at_s=200.0 + place))
    return model


def test_a_slow_llm_is_tried_again_after_a_while_by_one_call_at_a_time() -> None:
    bank = LatencyBank([slowed().forecast()])
    now: NDArray[np.float64] = forecast(bank, now_s=214.0).latency_s
    later = forecast(bank, now_s=214.0 + 50.0).latency_s
    behind_a_probe = forecast(bank, now_s=214.0 + 50.0, in_flight=[1]).latency_s
    assert now[0] > 15.0
    assert later[0] < 7.0
    assert behind_a_probe[0] == pytest.approx(now[0])


def test_waits_add_to_both_times_and_refusals_do_not_scatter() -> None:
    model = LatencyPredictor()
    for _ in range(100):
        model.observe(TimedCall(latency_s=2.0, tokens_out=100, tokens_in=300, ttft_s=0.5))
    bank = LatencyBank([model.forecast(max_in_flight=2)])
    alone = forecast(bank, tokens_out=100, streamed=True)
    queued = forecast(bank, tokens_out=100, streamed=True, in_flight=[5])
    assert alone.latency_s[0] == pytest.approx(2.0, rel=0.05)
    assert alone.ttft_s[0] == pytest.approx(0.5, rel=0.05)
    assert queued.wait_s[0] == pytest.approx(4.0, rel=0.05)
    assert queued.latency_s[0] == pytest.approx(6.0, rel=0.05)
    assert queued.ttft_s[0] == pytest.approx(4.5, rel=0.05)
    refused = forecast(bank, tokens_out=100, streamed=True, in_flight=[5], refused_s=[10.0])
    assert refused.wait_s[0] == pytest.approx(10.0)
    for one, other in zip(refused, queued, strict=True):
        assert one[0] == pytest.approx(other[0]) or one[0] == pytest.approx(other[0] + 10.0 - queued.wait_s[0])
    assert refused.latency_s_std[0] == queued.latency_s_std[0]


def test_a_kind_of_query_that_takes_longer_takes_longer_by_its_pace() -> None:
    bank = LatencyBank([slowed().forecast()])
    assert forecast(bank, pace=np.array([2.0])).latency_s[0] == pytest.approx(2.0 * forecast(bank).latency_s[0])


def test_a_pool_of_none() -> None:
    assert all(column.shape == (0,) for column in forecast(LatencyBank([]), in_flight=[], refused_s=[], now_s=1.0))
    assert not LatencyBank([]).depends_on_calls_under_way
