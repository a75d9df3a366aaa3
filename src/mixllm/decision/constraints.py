"""Hard constraints: they come before scores, and each refusal says why."""

from __future__ import annotations

import math
from typing import NamedTuple

from mixllm.types import Endpoint, Forecast, Hold, LLMSpec, Query

__all__ = ["Refusal", "asks_little", "takes_much", "too_busy", "why_ineligible"]

_CHAT = frozenset({Endpoint.CHAT})


class Refusal(NamedTuple):
    """Why an LLM cannot take a query, and in how many seconds that will have passed; None where it does not pass."""

    reason: str
    passes_in_s: float | None = None


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


def why_ineligible(
    query: Query, spec: LLMSpec, forecast: Forecast, *, hold: Hold | None = None, max_wait_s: float = math.inf
) -> Refusal | None:
    """Return why `spec` cannot take `query`, or None where it can.

    Checked in this order: allowed LLMs, endpoints, capabilities, context window, cost, quality, deadlines that it
    cannot meet even without waiting; then what passes with time: that it refuses calls now, its queue, deadlines.

    Parameters
    ----------
    query, spec, forecast
        What is asked, of which LLM, and what is expected of it.
    hold
        Why it would refuse any call now; None: it would not.
    max_wait_s
        The longest expected wait in its queue.

    Examples
    --------
    >>> from mixllm.types import Capability, Estimate
    >>> some = Estimate(mean=1.0, std=0.1)
    >>> forecast = Forecast(quality=some, tokens_out=some, cost_usd=some, ttft_s=some, wait_s=0.0, latency_s=some)
    >>> why_ineligible(Query(text="hi", needs=frozenset({Capability.VISION})), LLMSpec(name="a"), forecast)
    Refusal(reason='cannot do vision', passes_in_s=None)
    """
    if query.allowed_llms is not None and spec.name not in query.allowed_llms:
        return Refusal("not among the allowed LLMs")
    if query.endpoints.isdisjoint(spec.endpoints):
        return Refusal(f"does not serve {' or '.join(sorted(query.endpoints))}")
    missing = query.needs - spec.capabilities
    if missing:
        return Refusal(f"cannot do {', '.join(sorted(missing))}")
    lasting = _too_long(query, spec) or _out_of_bounds(query, forecast)
    if lasting is not None:
        return Refusal(lasting)
    late = _too_late(query, forecast)
    if late is not None and late.passes_in_s is None:
        return late
    return too_busy(forecast, hold=hold, max_wait_s=max_wait_s) or late


def too_busy(forecast: Forecast, *, hold: Hold | None, max_wait_s: float) -> Refusal | None:
    """Return why an LLM takes no call at all now, whatever is asked; None where it does."""
    if hold is not None:
        return Refusal(hold.reason, hold.wait_s if math.isfinite(hold.wait_s) else None)
    wait_s = forecast.wait_s
    if wait_s <= max_wait_s:
        return None
    return Refusal(
        f"its queue is full: expected wait of {wait_s:.1f} s is above the limit of {max_wait_s:.1f} s",
        wait_s - max_wait_s,
    )


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
    return None


def _too_late(query: Query, forecast: Forecast) -> Refusal | None:
    times = (
        ("latency", query.max_latency_s, forecast.latency_s.mean, forecast.latency_tail_s),
        ("time to the first token", query.max_ttft_s, forecast.ttft_s.mean, forecast.ttft_tail_s),
    )
    passing = None
    for what, limit_s, mean_s, tail_s in times:
        time_s = max(mean_s, tail_s)
        if limit_s is None or time_s <= limit_s:
            continue
        reason = f"{what} of up to {time_s:.2f} s is above the limit of {limit_s:.2f} s"
        if time_s - forecast.wait_s > limit_s:
            return Refusal(reason)  # Also where nobody else is served.
        passing = passing or Refusal(f"{reason}, {forecast.wait_s:.2f} s of it are waiting", time_s - limit_s)
    return passing
