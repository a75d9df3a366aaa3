"""Forecasts for the tests of the decision room."""

from __future__ import annotations

from mixllm.types import Estimate, Forecast


def forecast(
    *,
    quality: float = 0.5,
    std: float = 0.1,
    cost_usd: float = 1e-3,
    latency_s: float = 1.0,
    judgements: float = 100.0,
    spent_usd: float = 0.0,
    newcomer: bool = False,
) -> Forecast:
    """Return a forecast of which only these matter."""
    return Forecast(
        quality=Estimate(mean=quality, std=std),
        tokens_out=Estimate(mean=100.0, std=10.0),
        cost_usd=Estimate(mean=cost_usd, std=0.0),
        ttft_s=Estimate(mean=0.1, std=0.0),
        wait_s=0.0,
        latency_s=Estimate(mean=latency_s, std=0.0),
        judgements=judgements,
        spent_usd=spent_usd,
        newcomer=newcomer,
    )
