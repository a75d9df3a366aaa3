"""What a stream's journeys come to: quality, cost, misses, waits, shares, and how they went over time."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.load.engine import Fate, Journey
from mixllm.evaluation.load.world import World

__all__ = ["Figures", "Timeline", "figures", "timeline"]

_BINS = 60
_FULL_BIN = 20


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """A run over time: arrivals of each bin of `bin_s` seconds, by when they arrived.

    Parameters
    ----------
    bin_s
        Length of a bin.
    arrivals
        Queries that arrived.
    wait_s
        Their mean wait; None where no LLM took one.
    quality
        Their mean quality as a share of the reference's, 0 for what came late or never.
    in_time
        Share that was answered before the deadline.
    shed
        Share that was turned away.
    shares
        Share of the queries of each LLM.
    """

    bin_s: float
    arrivals: list[int]
    wait_s: list[float | None]
    quality: list[float]
    in_time: list[float]
    shed: list[float]
    shares: dict[str, list[float]]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one router made of one stream at one trade-off.

    Parameters
    ----------
    quality
        Mean quality, 0 for what came late or never, as a share of the reference LLM's recorded mean.
    cost
        Mean cost, as a share of the reference's.
    missed
        Share of the queries that an LLM or its queue took and that were not answered before the deadline.
    shed
        Share that was turned away at once, by the router or by an endpoint.
    wait_mean_s, wait_p95_s, wait_p99_s
        Of the queries that an LLM started on or that waited until they gave up.
    latency_mean_s, latency_p95_s, latency_p99_s
        Of the queries that were answered, in time or not.
    shares
        Share of the queries of each LLM.
    longest_queue
        Most calls that waited at any LLM at the same time.
    """

    quality: float
    cost: float
    missed: float
    shed: float
    wait_mean_s: float
    wait_p95_s: float
    wait_p99_s: float
    latency_mean_s: float
    latency_p95_s: float
    latency_p99_s: float
    shares: dict[str, float]
    longest_queue: int


def figures(world: World, journey: Journey) -> Figures:
    """Return the figures of a run."""
    quality, cost = _earned(world, journey)
    waits = journey.wait_s[~np.isnan(journey.wait_s)]
    latencies = journey.latency_s[np.isfinite(journey.latency_s)]
    missed = np.isin(journey.fate, (Fate.LATE, Fate.GAVE_UP))
    return Figures(
        quality=float(quality.mean() / world.reference_quality),
        cost=float(cost.mean() / world.reference_cost_usd),
        missed=float(missed.mean()),
        shed=float(_shed(journey).mean()),
        **_spread("wait", waits),
        **_spread("latency", latencies),
        shares={llm: float((journey.llm == column).mean()) for column, llm in enumerate(world.llms)},
        longest_queue=int(journey.queue.max(initial=0)),
    )


def timeline(world: World, journey: Journey, *, bins: int | None = None) -> Timeline:
    """Return how a run went over time; None takes as many bins, at most 60, as have twenty arrivals on average."""
    bins = bins or max(1, min(_BINS, len(world) // _FULL_BIN))
    span_s = float(world.arrivals_s[-1]) or 1.0
    bin_s = span_s / bins
    place = np.minimum((world.arrivals_s / bin_s).astype(np.intp), bins - 1)
    counts = np.bincount(place, minlength=bins)
    quality, _ = _earned(world, journey)
    waited = ~np.isnan(journey.wait_s)
    waits = np.bincount(place[waited], weights=journey.wait_s[waited], minlength=bins)
    waiting = np.bincount(place[waited], minlength=bins)

    def means(values: NDArray[Any]) -> list[float]:
        sums = np.bincount(place, weights=values.astype(np.float64), minlength=bins)
        found: list[float] = (sums / np.maximum(counts, 1)).round(5).tolist()
        return found

    return Timeline(
        bin_s=bin_s,
        arrivals=counts.tolist(),
        wait_s=[round(float(w / c), 4) if c else None for w, c in zip(waits, waiting, strict=True)],
        quality=means(quality / world.reference_quality),
        in_time=means(journey.fate == Fate.ANSWERED),
        shed=means(_shed(journey)),
        shares={llm: means(journey.llm == column) for column, llm in enumerate(world.llms)},
    )


def _earned(world: World, journey: Journey) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what each query's answer is worth, and what it cost, shape (n,)."""
    rows, columns = np.arange(len(world)), np.maximum(journey.llm, 0)
    in_time = journey.fate == Fate.ANSWERED
    paid = in_time | (journey.fate == Fate.LATE)
    return (
        np.where(in_time, world.quality[rows, columns], 0.0),
        np.where(paid, world.cost_usd[rows, columns], 0.0),
    )


def _shed(journey: Journey) -> NDArray[np.bool_]:
    return np.isin(journey.fate, (Fate.SHED, Fate.REFUSED))


def _spread(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    if values.size == 0:
        return {f"{name}_{what}_s": 0.0 for what in ("mean", "p95", "p99")}
    p95, p99 = np.quantile(values, [0.95, 0.99]).tolist()
    return {f"{name}_mean_s": float(values.mean()), f"{name}_p95_s": p95, f"{name}_p99_s": p99}
