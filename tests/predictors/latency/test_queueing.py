"""Learned concurrency in a small queue with planted servers; slow is not full, full is not slow."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest

from mixllm.predictors import LatencyBank, LatencyPredictor, TimedCall

SERVICE_S = 2.0


def queue_calls(
    servers: int, *, seed: int, count: int, load: float, noise: float = 0.25, factor: float = 1.0, start_s: float = 0.0
) -> list[TimedCall]:
    """Return calls of bursts onto `servers` servers, first come first served, in the order of their answers."""
    rng = np.random.default_rng(seed)
    now_s, free, under = start_s, [start_s] * servers, list[float]()
    calls = []
    for number in range(count):
        rate = load * servers / (factor * SERVICE_S) * (1.6 if (number // 40) % 2 == 0 else 0.4)
        now_s += float(rng.exponential(1.0 / rate))
        under = [end_s for end_s in under if end_s > now_s]
        end_s = max(heapq.heappop(free), now_s) + factor * SERVICE_S * float(np.exp(noise * rng.normal()))
        heapq.heappush(free, end_s)
        calls.append(TimedCall(latency_s=end_s - now_s, tokens_out=80, in_flight=len(under), at_s=end_s))
        under.append(end_s)
    return sorted(calls, key=lambda call: call.at_s)


def warm(seed: int = 0) -> LatencyPredictor:
    rng = np.random.default_rng(seed)
    model = LatencyPredictor()
    for number in range(40):
        time_s = SERVICE_S * float(np.exp(0.25 * rng.normal()))
        model.observe(TimedCall(latency_s=time_s, tokens_out=80, at_s=-200.0 + 4 * number))
    return model


@pytest.mark.parametrize("servers", [2, 4, 8, 16, 32])
def test_planted_servers_are_counted(servers: int) -> None:
    model = warm()
    for call in queue_calls(servers, seed=servers, count=300, load=1.4):
        model.observe(call)
    forecast = model.forecast()
    assert 0.7 * servers <= forecast.capacity <= 1.3 * servers
    assert forecast.plain.latency_s(0, 80) == pytest.approx(SERVICE_S, rel=0.3)  # service alone, no waiting
    assert abs(forecast.level.log()) < 0.25


def test_at_the_start_no_limit_is_assumed_nor_where_none_is_met() -> None:
    assert warm().forecast().capacity == math.inf
    model = warm()
    rng = np.random.default_rng(3)
    for number in range(200):
        time_s = SERVICE_S * float(np.exp(0.25 * rng.normal()))
        model.observe(
            TimedCall(latency_s=time_s, tokens_out=80, in_flight=int(rng.integers(0, 20)), at_s=float(number))
        )
    assert model.forecast().capacity > 20


def test_a_slow_llm_is_not_taken_for_a_full_queue() -> None:
    model = warm()
    rng = np.random.default_rng(4)
    for number in range(20):
        time_s = 10 * SERVICE_S * float(np.exp(0.25 * rng.normal()))
        model.observe(TimedCall(latency_s=time_s, tokens_out=80, in_flight=int(rng.integers(0, 6)), at_s=float(number)))
    forecast = model.forecast()
    assert forecast.capacity > 6
    assert forecast.plain.latency_s(0, 80) * math.exp(forecast.level.log()) > 5 * SERVICE_S


def test_a_full_queue_is_not_taken_for_a_slow_llm() -> None:
    model = warm()
    for call in queue_calls(4, seed=5, count=120, load=2.0):
        model.observe(call)
    assert model.forecast().level.log() < math.log(1.6)
    assert model.forecast().capacity <= 6


def test_a_declared_limit_stands() -> None:
    model = warm()
    for call in queue_calls(4, seed=6, count=100, load=1.5):
        model.observe(call)
    assert model.forecast(max_in_flight=9).capacity == 9.0


def test_a_burst_onto_an_llm_of_unknown_capacity_is_seen() -> None:
    model = warm()
    for call in queue_calls(4, seed=7, count=150, load=1.5):
        model.observe(call)
    bank = LatencyBank([model.forecast()])
    assert bank.depends_on_calls_under_way

    def wait_s(in_flight: int) -> float:
        made = bank.forecast(
            tokens_in=0, tokens_out=np.array([80.0]), length_log_variance=np.zeros(1), in_flight=[in_flight]
        )
        return float(made.wait_s[0])

    assert wait_s(1) == 0.0
    assert wait_s(40) == pytest.approx(37 / 4 * SERVICE_S, rel=0.4)
