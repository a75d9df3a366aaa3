"""Calls of an LLM with planted times."""

from __future__ import annotations

import numpy as np

from mixllm.predictors import LatencyPredictor, TimedCall


def call(
    rng: np.random.Generator,
    *,
    ttft_s: float = 0.4,
    per_token_in_s: float = 0.0,
    tpot_s: float = 0.01,
    noise: float = 0.1,
    streamed: bool = False,
    factor: float = 1.0,
    at_s: float = 0.0,
) -> TimedCall:
    """Return a call of random lengths, with lognormal noise on its two times."""
    tokens_in, tokens_out = int(rng.integers(20, 4_000)), int(rng.integers(1, 600))
    first_s = factor * (ttft_s + per_token_in_s * tokens_in) * float(np.exp(noise * rng.normal()))
    rest_s = factor * tpot_s * tokens_out * float(np.exp(noise * rng.normal()))
    return TimedCall(
        latency_s=first_s + rest_s,
        tokens_out=tokens_out,
        tokens_in=tokens_in,
        ttft_s=first_s if streamed else None,
        at_s=at_s,
    )


def slowness(model: LatencyPredictor, *, usual_s: float, idle_s: float = 0.0) -> float:
    """Return how many times `usual_s` an answer of 300 tokens to a prompt of 300 takes, after a pause."""
    forecast = model.forecast()
    now_s = forecast.plain.latency_s(300, 300) * float(np.exp(forecast.level.log(idle_s)))
    return now_s / usual_s
