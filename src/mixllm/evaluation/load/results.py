"""Results of a load test in the form that other programs read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from mixllm import __version__
from mixllm.errors import ConfigError
from mixllm.evaluation.frontier import Frontier, upper_hull
from mixllm.evaluation.load.figures import Figures, Timeline
from mixllm.evaluation.metrics import BUDGET, TARGET
from mixllm.evaluation.results import Number, mean_and_error

__all__ = ["RESULTS_FILE", "Level", "LoadResults", "Point", "RouterLoad", "point", "router_load", "write_results"]

RESULTS_FILE = "results.json"


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What a router made of the streams at one trade-off, averaged over seeds.

    Parameters
    ----------
    trade_off
        λ.
    quality, cost, missed, shed, wait_mean_s, wait_p95_s, wait_p99_s, latency_mean_s, latency_p95_s, latency_p99_s
        See `Figures`.
    shares
        Share of the queries of each LLM.
    longest_queue
        Over all seeds.
    """

    trade_off: float
    quality: Number
    cost: Number
    missed: Number
    shed: Number
    wait_mean_s: Number
    wait_p95_s: Number
    wait_p99_s: Number
    latency_mean_s: Number
    latency_p95_s: Number
    latency_p99_s: Number
    shares: dict[str, float]
    longest_queue: int


_NUMBERS = tuple(name for name in Point.__struct_fields__ if name not in ("trade_off", "shares", "longest_queue"))


class RouterLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One router under one load.

    Parameters
    ----------
    points
        One for each trade-off.
    cost_at_97_25, quality_at_24_18, max_quality
        Of each seed's frontier; None where no seed reaches it.
    cost_reached
        Share of the seeds that reach 97.25 % of the reference's quality.
    timeline
        Of the first seed, at the trade-off that was asked for.
    """

    points: list[Point]
    cost_at_97_25: Number
    quality_at_24_18: Number
    max_quality: Number
    cost_reached: float
    timeline: Timeline | None = None


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """All routers under one load.

    Parameters
    ----------
    load
        ρ, the share of the pool's capacity; None: LLMs without limits, and clients who wait for ever.
    rate_per_s
        Arrivals per second.
    routers
        By their names.
    """

    load: float | None
    rate_per_s: float
    routers: dict[str, RouterLoad]


class LoadResults(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a load test: the content of ``results.json``.

    Parameters
    ----------
    log, reference, llms
        The log, its reference LLM, and its LLMs.
    arrivals
        How queries arrived.
    seeds
        The seeds.
    deadline_s
        τ.
    service_s
        Mean time of each LLM's calls without waiting.
    servers
        Calls that each LLM serves at the same time.
    capacity_per_s
        Σ servers / service time.
    levels
        One for each load; the first one is that without the constraint of time.
    shown_trade_off
        The λ of the timelines.
    simulated_s, took_s
        Simulated and real time of MixLLM's runs together.
    """

    log: str
    reference: str
    llms: list[str]
    arrivals: str
    seeds: list[int]
    deadline_s: float
    service_s: dict[str, float]
    servers: int
    capacity_per_s: float
    levels: list[Level]
    shown_trade_off: float
    simulated_s: float
    took_s: float
    version: str = __version__


def point(trade_off: float, found: Sequence[Figures]) -> Point:
    """Return the means over seeds."""
    return Point(
        trade_off=trade_off,
        shares={llm: round(float(np.mean([one.shares[llm] for one in found])), 5) for llm in found[0].shares},
        longest_queue=max(one.longest_queue for one in found),
        **{name: mean_and_error([getattr(one, name) for one in found]) for name in _NUMBERS},
    )


def router_load(
    trade_offs: Sequence[float], found: Sequence[Sequence[Figures]], *, timeline: Timeline | None = None
) -> RouterLoad:
    """Return what a router made of all streams.

    Parameters
    ----------
    trade_offs
        The λ of each point.
    found
        For each seed, the figures at each trade-off.
    timeline
        To be kept.
    """
    frontiers = [_hull(figures) for figures in found]
    costs = [frontier.cost_at(TARGET) for frontier in frontiers]
    return RouterLoad(
        points=[point(trade_off, [row[place] for row in found]) for place, trade_off in enumerate(trade_offs)],
        cost_at_97_25=mean_and_error(costs),
        quality_at_24_18=mean_and_error([frontier.quality_at(BUDGET) for frontier in frontiers]),
        max_quality=mean_and_error([float(frontier.quality[-1]) for frontier in frontiers]),
        cost_reached=sum(cost is not None for cost in costs) / len(costs),
        timeline=timeline,
    )


def _hull(found: Sequence[Figures]) -> Frontier:
    return upper_hull([one.cost for one in found], [one.quality for one in found])


def write_results(results: LoadResults, folder: Path) -> None:
    """Write ``results.json`` into a folder; raises `ConfigError` where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(results), indent=1)
        (folder / RESULTS_FILE).write_bytes(text + b"\n")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}). Give another folder.") from error
