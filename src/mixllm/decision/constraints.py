"""Hard constraints: they come before scores, and each refusal says why."""

from __future__ import annotations

from mixllm.types import Endpoint, Forecast, LLMSpec, Query

__all__ = ["asks_little", "takes_much", "why_ineligible"]

_CHAT = frozenset({Endpoint.CHAT})


def asks_little(query: Query) -> bool:
    """Return whether nothing can rule out an LLM that `takes_much` for `query`, as with most queries.

    Examples
    --------
    >>> asks_little(Query(text="hi")), asks_little(Query(text="hi", max_cost_usd=0.01))
    (True, False)
    """
    return (
        query.allowed_llms is None
        and not query.needs
        and query.max_cost_usd is None
        and query.min_quality is None
        and query.max_latency_s is None
        and query.max_ttft_s is None
        and query.endpoints == _CHAT
    )


def takes_much(spec: LLMSpec) -> bool:
    """Return whether `spec` takes every query that `asks_little`: it chats, and no context window is known.

    Examples
    --------
    >>> takes_much(LLMSpec(name="a")), takes_much(LLMSpec(name="a", context_window=8000))
    (True, False)
    """
    return spec.context_window is None and Endpoint.CHAT in spec.endpoints


def why_ineligible(query: Query, spec: LLMSpec, forecast: Forecast) -> str | None:
    """Return why `spec` cannot take `query`, or None where it can.

    Checked in this order: allowed LLMs, endpoints, capabilities, context window, cost, quality, latency.

    Examples
    --------
    >>> from mixllm.types import Capability, Estimate
    >>> some = Estimate(mean=1.0, std=0.1)
    >>> forecast = Forecast(quality=some, tokens_out=some, cost_usd=some, ttft_s=some, wait_s=0.0, latency_s=some)
    >>> why_ineligible(Query(text="hi", needs=frozenset({Capability.VISION})), LLMSpec(name="a"), forecast)
    'cannot do vision'
    """
    if query.allowed_llms is not None and spec.name not in query.allowed_llms:
        return "not among the allowed LLMs"
    if query.endpoints.isdisjoint(spec.endpoints):
        return f"does not serve {' or '.join(sorted(query.endpoints))}"
    missing = query.needs - spec.capabilities
    if missing:
        return f"cannot do {', '.join(sorted(missing))}"
    return _too_long(query, spec) or _out_of_bounds(query, forecast)


def _too_long(query: Query, spec: LLMSpec) -> str | None:
    if spec.context_window is None:
        return None
    needed = query.prompt_tokens + (query.max_tokens_out or 1)
    if needed <= spec.context_window:
        return None
    return f"context window of {spec.context_window} tokens is too small for {needed}"


def _out_of_bounds(query: Query, forecast: Forecast) -> str | None:
    if query.max_cost_usd is not None and forecast.cost_usd.mean > query.max_cost_usd:
        return f"expected cost ${forecast.cost_usd.mean:.6f} is above the limit of ${query.max_cost_usd:.6f}"
    if query.min_quality is not None and forecast.quality.mean < query.min_quality:
        return f"expected quality {forecast.quality.mean:.3f} is below the limit of {query.min_quality:.3f}"
    return _too_late(query, forecast)


def _too_late(query: Query, forecast: Forecast) -> str | None:
    latency_s = max(forecast.latency_s.mean, forecast.latency_tail_s)
    if query.max_latency_s is not None and latency_s > query.max_latency_s:
        return f"latency of up to {latency_s:.2f} s is above the limit of {query.max_latency_s:.2f} s"
    ttft_s = max(forecast.ttft_s.mean, forecast.ttft_tail_s)
    if query.max_ttft_s is not None and ttft_s > query.max_ttft_s:
        return f"time to the first token of up to {ttft_s:.2f} s is above the limit of {query.max_ttft_s:.2f} s"
    return None
