"""A pool at 1.5 times its capacity, and an LLM that slows down; see benchmarks.load."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.load_stands import capacity_per_s, means, stands
from mixllm.evaluation.load.arrivals import Surge
from mixllm.evaluation.load.endpoint import SlowTime
from mixllm.evaluation.load.engine import Fate, Journey
from mixllm.evaluation.load.loading import OURS, LoadSettings
from mixllm.evaluation.load.world import World
from mixllm.evaluation.splits import Dataset

_WINDOW_S = 10.0
_CALM_WINDOWS = 5
_SHARE_WINDOW = 30


def surge(dataset: Dataset, settings: LoadSettings, arguments: argparse.Namespace) -> dict[str, Any]:
    more = Surge(from_s=100.0, until_s=160.0, factor=1.5 / arguments.base)
    settings = replace(settings, surge=more, duration_s=300.0)
    runs = []
    for stand in stands(dataset, arguments, [OURS]):
        world = stand.world(settings, rate_per_s=arguments.base * capacity_per_s(stand), trace_s=None)
        journey = stand.run(OURS, world, settings, trade_off=arguments.trade_off, bounded=True)
        runs.append(_surge_figures(world, journey, more))
        print(runs[-1], flush=True)
    return {"base": arguments.base, "trade_off": arguments.trade_off, "runs": runs, **means(runs)}


def _surge_figures(world: World, journey: Journey, surge: Surge) -> dict[str, float | None]:
    at = world.arrivals_s
    turned = np.isin(journey.fate, (Fate.SHED, Fate.REFUSED))
    missed = np.isin(journey.fate, (Fate.LATE, Fate.GAVE_UP))
    rows = np.arange(len(world))
    quality = np.where(journey.fate == Fate.ANSWERED, world.quality[rows, np.maximum(journey.llm, 0)], 0.0)
    cost = world.cost_usd[rows, np.maximum(journey.llm, 0)] * np.isin(journey.fate, (Fate.ANSWERED, Fate.LATE))
    parts = {
        "before": at < surge.from_s,
        "during": (at >= surge.from_s) & (at < surge.until_s),
        "after": at >= surge.until_s,
    }
    found: dict[str, float | None] = {"longest_queue": float(journey.queue.max())}
    for name, part in parts.items():
        found[f"shed_{name}"] = float(turned[part].mean())
        found[f"missed_{name}"] = float(missed[part].mean())
        found[f"quality_{name}"] = float(quality[part].mean() / world.reference_quality)
        found[f"cost_{name}"] = float(cost[part].mean() / world.reference_cost_usd)
        found[f"wait_{name}_s"] = float(np.nanmean(journey.wait_s[part]))
    starts = np.arange(0.0, at[-1] - _WINDOW_S, _WINDOW_S / 2)
    waits = np.array([_mean_in(journey.wait_s, at, start) for start in starts])
    sheds = np.array([_mean_in(turned.astype(float), at, start) for start in starts])
    usual = max(1.0, float(np.nanquantile(waits[starts + _WINDOW_S <= surge.from_s], 0.95)))
    calm = (waits <= usual) & (sheds == 0)
    found["recovered_after_s"] = None
    for place in np.flatnonzero(starts >= surge.until_s).tolist():
        if calm[place : place + _CALM_WINDOWS].all():
            found["recovered_after_s"] = float(starts[place] - surge.until_s)
            break
    return found


def _mean_in(values: NDArray[np.float64], at: NDArray[np.float64], start: float) -> float:
    inside = values[(at >= start) & (at < start + _WINDOW_S)]
    inside = inside[~np.isnan(inside)]
    return float(inside.mean()) if inside.size else 0.0


def slow(dataset: Dataset, settings: LoadSettings, arguments: argparse.Namespace) -> dict[str, Any]:
    settings = replace(settings, duration_s=340.0)
    runs = []
    for stand in stands(dataset, arguments, [OURS]):
        world = stand.world(settings, rate_per_s=arguments.base * capacity_per_s(stand), trace_s=None)
        usual = stand.run(OURS, world, settings, trade_off=arguments.trade_off, bounded=True)
        column = int(np.bincount(usual.llm[usual.llm >= 0], minlength=len(world.llms)).argmax())
        time_ = SlowTime(llm=world.llms[column], from_s=100.0, until_s=200.0, factor=10.0)
        journey = stand.run(OURS, world, replace(settings, slow=(time_,)), trade_off=arguments.trade_off, bounded=True)
        runs.append({"llm": time_.llm, **_slow_figures(world, usual, journey, column, time_)})
        print(runs[-1], flush=True)
    return {"base": arguments.base, "trade_off": arguments.trade_off, "runs": runs, **means(runs)}


def _slow_figures(
    world: World, usual: Journey, journey: Journey, column: int, slow: SlowTime
) -> dict[str, float | None]:
    at = world.arrivals_s
    window = np.ones(_SHARE_WINDOW) / _SHARE_WINDOW
    # The share among the thirty arrivals from each one on, here and in the stream without trouble.
    mine = np.convolve(journey.llm == column, window[::-1], mode="valid")
    other = np.convolve(usual.llm == column, window[::-1], mode="valid")
    overall = float((usual.llm == column).mean())
    ratio = mine / np.maximum(other, 0.5 * overall)
    when = at[: len(ratio)]
    ended_s = np.sort((at + journey.latency_s)[journey.llm == column])
    lost = np.flatnonzero((when >= slow.from_s) & (when < slow.until_s) & (ratio <= 0.25))
    back = np.flatnonzero((when >= slow.until_s) & (ratio >= 0.75))
    missed = np.isin(journey.fate, (Fate.LATE, Fate.GAVE_UP))
    during = (at >= slow.from_s) & (at < slow.until_s)
    return {
        "share_before": float((journey.llm[at < slow.from_s] == column).mean()),
        "share_while_slow": float((journey.llm[during] == column).mean()),
        "answers_until_lost": float(((ended_s > slow.from_s) & (ended_s <= when[lost[0]])).sum())
        if lost.size
        else None,
        "lost_after_s": float(when[lost[0]] - slow.from_s) if lost.size else None,
        "back_after_s": float(when[back[0]] - slow.until_s) if back.size else None,
        "missed_while_slow": float(missed[during].mean()),
        "missed": float(missed.mean()),
    }
