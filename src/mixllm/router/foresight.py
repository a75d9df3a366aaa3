"""What can be expected of each LLM at this moment: the forecasts, with what is under way and what is refused."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from mixllm.decision import Forecasts
from mixllm.interfaces import FloatArray
from mixllm.learning import Snapshot
from mixllm.registry import Traffic
from mixllm.types import Hold, Query

__all__ = ["Foreseen", "foresee", "within_time"]

_LONGEST_HOLD_S = 3600.0
"""Forecasts stay finite where an LLM's limits let a call never pass."""


class Foreseen(NamedTuple):
    """Calls under way, what is refused now, and what is expected of each LLM."""

    counts: dict[str, int]
    holds: list[Hold | None] | None
    forecasts: Forecasts


def foresee(
    traffic: Traffic, snapshot: Snapshot, features: FloatArray, query: Query, *, now_s: float, tail: float
) -> Foreseen:
    """Return what is expected of each LLM of `snapshot`; parameters as of `Snapshot.forecasts`."""
    counts = traffic.counts()
    tokens_in = query.prompt_tokens
    holds = traffic.holds(snapshot.specs, tokens=tokens_in)
    refused_s = None
    if holds is not None:
        refused_s = [0.0 if hold is None else min(hold.wait_s, _LONGEST_HOLD_S) for hold in holds]
    forecasts = snapshot.forecasts(
        features,
        tokens_in=tokens_in,
        max_tokens_out=query.max_tokens_out,
        in_flight=[counts.get(spec.name, 0) for spec in snapshot.specs] if counts and snapshot.queues else None,
        refused_s=refused_s,
        streamed=query.streamed,
        now_s=now_s,
        tail=tail,
        warm=query.warm,
        choices=query.choices,
    )
    return Foreseen(counts, holds, forecasts)


def within_time(query: Query, *, max_latency_s: float | None, max_ttft_s: float | None) -> Query:
    """Return `query` with these limits on time where it sets none itself; that to the first token only for streams."""
    changes = {}
    if max_latency_s is not None and query.max_latency_s is None:
        changes["max_latency_s"] = max_latency_s
    if max_ttft_s is not None and query.max_ttft_s is None and query.streamed:
        changes["max_ttft_s"] = max_ttft_s
    return msgspec.structs.replace(query, **changes) if changes else query
