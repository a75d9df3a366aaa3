"""Routers under load: what is left of a frontier in time, of a pool at 1.5 times its capacity, of an LLM that slows down.

    python -m benchmarks.load frontier --data DIR/cascades --reference gpt-4o
    python -m benchmarks.load surge --data DIR/cascades --reference gpt-4o
    python -m benchmarks.load slow --data DIR/cascades --reference gpt-4o
    python -m benchmarks.load speed --data DIR/cascades --reference gpt-4o

docs/load.md says what load, capacity, service times and deadlines mean here. Seeds below 100 are for choosing settings;
what is reported has --first-seed 100.

frontier
    MixLLM and the benchmark's routers at several λ under each load, and without the constraint of time. `kept` is MixLLM's
    quality under the constraint as a share of its own without, at equal cost: the two frontiers of a seed compared at 20
    costs from where both have begun to the reference's. `fluid:oracle` is the best that any router could do under that load
    (all answers known, nobody waits), `fluid:mixllm` the same with MixLLM's predictions, judged by what is true.
surge
    At `--base` of the capacity, for a minute 1.5 times it. Recovered is when for thirty seconds on nobody is turned away
    and waits are no longer than before (the 95 % quantile of the ten-second windows before, at least a second).
slow
    The LLM that MixLLM uses most becomes ten times slower for 100 s. The same stream without that is what its share is
    compared with, over 30 arrivals at a time. Lost is when the share is at most a quarter; back, at least three quarters.
speed
    Simulated over real time of MixLLM at the paper's rate of 10 queries a second, each text encoded anew.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import store
from mixllm.assembly import build_encoder
from mixllm.config import EncoderConfig
from mixllm.evaluation.bench import one_thread
from mixllm.evaluation.contender import Predictions
from mixllm.evaluation.frontier import Frontier, upper_hull
from mixllm.evaluation.load.arrivals import Surge
from mixllm.evaluation.load.endpoint import EndpointSpec, SlowTime
from mixllm.evaluation.load.engine import Fate, Journey
from mixllm.evaluation.load.figures import Figures, figures
from mixllm.evaluation.load.fluid import fluid_assignment
from mixllm.evaluation.load.loading import OURS, LoadSettings, Stand
from mixllm.evaluation.load.service import lengths_of, speeds_of
from mixllm.evaluation.load.world import World, pool_capacity_per_s
from mixllm.evaluation.metrics import BUDGET, TARGET
from mixllm.evaluation.mixllm_router import MixLLMRouter
from mixllm.evaluation.splits import Dataset, prepare, random_splits
from mixllm.logs import open_log

_ROUTERS = (
    OURS,
    "knn",
    "tag-mean",
    "kmeans",
    "rf",
    "mlp",
    "mf",
    "irt",
    "carrot",
    "zero",
    "random",
    "cheapest",
    "oracle",
    "single",
)
_TRADE_OFFS = (0.0, 0.2, 0.6, 1.4, 3.0, 6.0, 12.0, 30.0, 1000.0)
_MORE_TRADE_OFFS = tuple(np.concatenate([[0.0], np.logspace(-1.5, 3.0, 24)]).round(4).tolist())
_FLUID_TRADE_OFFS = (0.0, 0.6, 1.4, 3.0, 6.0, 12.0, 30.0, 1000.0)
_SERVERS = 1
_COSTS = 20
_WINDOW_S = 10.0
_SHARE_WINDOW = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("frontier", "surge", "slow", "speed"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reference")
    parser.add_argument("--speeds", type=Path, help="llmperf's measurements, for a log without latencies")
    parser.add_argument("--arrivals", default="paper", choices=("paper", "poisson", "bursts"))
    parser.add_argument("--loads", type=float, nargs="+", default=[0.2, 0.4, 0.6, 0.8, 0.9])
    parser.add_argument("--base", type=float, default=0.6)
    parser.add_argument("--routers", nargs="+", default=list(_ROUTERS))
    parser.add_argument("--trade-off", type=float, default=3.0)
    parser.add_argument("--duration", type=float, default=240.0)
    parser.add_argument("--baseline-attempts", type=int, default=1)
    parser.add_argument("--untold", action="store_true", help="MixLLM has to find out how many calls an LLM serves")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", help="name of the result; without it load_WHAT_LOG")
    arguments = parser.parse_args()
    dataset = prepare(open_log(arguments.data), encoder=build_encoder(EncoderConfig()), reference=arguments.reference)
    settings = LoadSettings(
        arrivals=arguments.arrivals,
        endpoint=EndpointSpec(servers=_SERVERS),
        duration_s=arguments.duration,
        tells_servers=not arguments.untold,
        baseline_attempts=arguments.baseline_attempts,
    )
    measure: dict[str, Callable[..., dict[str, Any]]] = {
        "frontier": _frontier,
        "surge": _surge,
        "slow": _slow,
        "speed": _speed,
    }
    with one_thread():
        found = measure[arguments.what](dataset, settings, arguments)
    result = {
        "log": dataset.log.name,
        "reference": dataset.reference,
        "arrivals": arguments.arrivals,
        "servers": _SERVERS,
        "deadline_s": settings.deadline_s,
        "duration_s": settings.duration_s,
        "told_servers": settings.tells_servers,
        "seeds": list(range(arguments.first_seed, arguments.first_seed + arguments.seeds)),
        **found,
    }
    command = f"python -m benchmarks.load {arguments.what} --data {arguments.data.name} --reference {dataset.reference}"
    print(store(arguments.out or f"load_{arguments.what}_{dataset.log.name}", result, command=command).read_text())


def _stands(dataset: Dataset, arguments: argparse.Namespace, routers: list[str]) -> Iterator[Stand]:
    speeds = speeds_of(dataset.log, measured=arguments.speeds)
    names: list[str] = []
    for name in routers:
        names += [f"single:{llm}" for llm in dataset.log.llms] if name == "single" else [name]
    for number, split in enumerate(random_splits(dataset, splits=arguments.seeds, seed=arguments.first_seed)):
        began_s = time.perf_counter()
        stand = Stand.prepare(split, speeds=speeds, routers=names, told=lambda _: None)
        print(f"seed {number}: trained in {time.perf_counter() - began_s:.0f} s", flush=True)
        yield stand


def _capacity(stand: Stand) -> float:
    return pool_capacity_per_s(np.asarray(stand.service_s), np.full(len(stand.speeds), _SERVERS))


# ---- frontier ---------------------------------------------------------------------------------------------------------


def _frontier(dataset: Dataset, settings: LoadSettings, arguments: argparse.Namespace) -> dict[str, Any]:
    levels: dict[str, list[dict[str, list[tuple[float, Figures]]]]] = {}
    for stand in _stands(dataset, arguments, arguments.routers):
        ours = MixLLMRouter()
        ours.fit(stand.split.training(), np.random.default_rng([stand.split.seed, 3]))
        hopes = ours.predict(stand.split.queries())
        for load in (None, *arguments.loads):
            rate = (load or arguments.loads[0]) * _capacity(stand)
            world = stand.world(settings, rate_per_s=rate, trace_s=None)
            row: dict[str, list[tuple[float, Figures]]] = {}
            for name in ([OURS] if stand.trained is not None else []) + list(stand.predictions):
                grid = _TRADE_OFFS if name == OURS else _MORE_TRADE_OFFS
                row[name] = [
                    (v, figures(world, stand.run(name, world, settings, trade_off=v, bounded=load is not None)))
                    for v in grid
                ]
            for name, known in (("fluid:oracle", None), (f"fluid:{OURS}", hopes)):
                row[name] = [(v, _fluid(stand, known, rate if load else 1e-6, v)) for v in _FLUID_TRADE_OFFS]
            levels.setdefault("unconstrained" if load is None else f"{load:g}", []).append(row)
            best = {name: round(_hull(points).quality_at(BUDGET) or 0.0, 3) for name, points in row.items()}
            print(load, best, flush=True)
    return {
        "routers": list(next(iter(levels.values()))[0]),
        "levels": {load: _level(rows, levels["unconstrained"]) for load, rows in levels.items()},
    }


def _fluid(stand: Stand, known: Predictions | None, rate_per_s: float, trade_off: float) -> Figures:
    """Return what the best assignment would earn; only quality, cost, and the share that is turned away are told."""
    test = stand.split.test
    reference = test.column(stand.split.reference)
    into, out = lengths_of(test)
    work_s = np.stack(
        [speed.median_s(into[:, k], out[:, k]) * speed.mean_factor for k, speed in enumerate(stand.speeds)], axis=1
    )
    hoped = test.quality if known is None else np.asarray(known.quality, np.float64)
    feared = (test.cost_usd if known is None else np.asarray(known.cost_usd, np.float64)) / stand.cost_unit
    servers = np.full(len(stand.speeds), _SERVERS)
    share = fluid_assignment(hoped, feared, work_s, rate_per_s=rate_per_s, servers=servers, trade_off=trade_off)
    nothing = {name: 0.0 for name in Figures.__struct_fields__ if name not in ("shares", "longest_queue")}
    return Figures(
        **{
            **nothing,
            "quality": float((share * test.quality).sum() / test.quality[:, reference].sum()),
            "cost": float((share * test.cost_usd).sum() / test.cost_usd[:, reference].sum()),
            "shed": float(1.0 - share.sum() / len(test)),
        },
        shares=dict(zip(test.llms, share.mean(axis=0).tolist(), strict=True)),
        longest_queue=0,
    )


def _hull(points: list[tuple[float, Figures]]) -> Frontier:
    return upper_hull([one.cost for _, one in points], [one.quality for _, one in points])


def _level(
    rows: list[dict[str, list[tuple[float, Figures]]]], free: list[dict[str, list[tuple[float, Figures]]]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in rows[0]:
        hulls = [_hull(row[name]) for row in rows]
        points = [
            {
                "trade_off": v,
                **{field: _mean([getattr(row[name][place][1], field) for row in rows]) for field in _FIELDS},
            }
            for place, (v, _) in enumerate(rows[0][name])
        ]
        found[name] = {
            "cost_at_97_25": _mean([hull.cost_at(TARGET) for hull in hulls]),
            "quality_at_24_18": _mean([hull.quality_at(BUDGET) for hull in hulls]),
            "max_quality": _mean([float(hull.quality[-1]) for hull in hulls]),
            "most_missed": max(one.missed for row in rows for _, one in row[name]),
            "points": points,
        }
    for ours in (name for name in (OURS, f"fluid:{OURS}") if name in rows[0]):
        kept = [_kept(_hull(row[ours]), _hull(unbound[ours])) for row, unbound in zip(rows, free, strict=True)]
        found[ours]["kept"] = {what: _mean([one[what] for one in kept]) for what in kept[0]}
    found["ahead"] = _ahead(rows)
    return found


_FIELDS = ("quality", "cost", "missed", "shed", "wait_mean_s", "wait_p95_s", "wait_p99_s", "latency_p99_s")


def _kept(bound: Frontier, free: Frontier) -> dict[str, float | None]:
    """Return quality under the constraint as a share of that without, at equal cost."""
    first = max(bound.cost[0], free.cost[0])
    costs = np.linspace(first, max(1.0, first), _COSTS)
    shares = [(bound.quality_at(float(c)) or 0.0) / (free.quality_at(float(c)) or 1.0) for c in costs]
    within, without = bound.quality_at(BUDGET), free.quality_at(BUDGET)
    cheap = free.cost_at(TARGET)
    at = None if cheap is None else bound.quality_at(cheap)
    return {
        "mean": float(np.mean(shares)),
        "least": float(min(shares)),
        "at_24_18": None if within is None or without is None else within / without,
        "at_cost_of_97_25": None if at is None else at / TARGET,
    }


def _ahead(rows: list[dict[str, list[tuple[float, Figures]]]]) -> dict[str, Any]:
    """Return in how many seeds MixLLM is ahead of each other router at the two marks."""
    if OURS not in rows[0]:
        return {}
    ahead: dict[str, Any] = {}
    for name in rows[0]:
        if name == OURS or name.startswith("fluid:"):
            continue
        pairs = [(_hull(row[OURS]), _hull(row[name])) for row in rows]
        ahead[name] = {
            "at_24_18": sum((mine.quality_at(BUDGET) or 0) > (other.quality_at(BUDGET) or 0) for mine, other in pairs),
            "at_97_25": sum(_cheaper(mine.cost_at(TARGET), other.cost_at(TARGET)) for mine, other in pairs),
            "of": len(pairs),
        }
    return ahead


def _cheaper(mine: float | None, other: float | None) -> bool:
    return mine is not None and (other is None or mine < other)


# ---- surge ------------------------------------------------------------------------------------------------------------


def _surge(dataset: Dataset, settings: LoadSettings, arguments: argparse.Namespace) -> dict[str, Any]:
    surge = Surge(from_s=100.0, until_s=160.0, factor=1.5 / arguments.base)
    settings = replace(settings, surge=surge, duration_s=300.0)
    runs = []
    for stand in _stands(dataset, arguments, [OURS]):
        world = stand.world(settings, rate_per_s=arguments.base * _capacity(stand), trace_s=None)
        journey = stand.run(OURS, world, settings, trade_off=arguments.trade_off, bounded=True)
        runs.append(_surge_figures(world, journey, surge))
        print(runs[-1], flush=True)
    return {"base": arguments.base, "trade_off": arguments.trade_off, "runs": runs, **_means(runs)}


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
        if calm[place : place + 5].all():
            found["recovered_after_s"] = float(starts[place] - surge.until_s)
            break
    return found


def _mean_in(values: NDArray[np.float64], at: NDArray[np.float64], start: float) -> float:
    inside = values[(at >= start) & (at < start + _WINDOW_S)]
    inside = inside[~np.isnan(inside)]
    return float(inside.mean()) if inside.size else 0.0


# ---- slow -------------------------------------------------------------------------------------------------------------


def _slow(dataset: Dataset, settings: LoadSettings, arguments: argparse.Namespace) -> dict[str, Any]:
    settings = replace(settings, duration_s=340.0)
    runs = []
    for stand in _stands(dataset, arguments, [OURS]):
        world = stand.world(settings, rate_per_s=arguments.base * _capacity(stand), trace_s=None)
        usual = stand.run(OURS, world, settings, trade_off=arguments.trade_off, bounded=True)
        column = int(np.bincount(usual.llm[usual.llm >= 0], minlength=len(world.llms)).argmax())
        time_ = SlowTime(llm=world.llms[column], from_s=100.0, until_s=200.0, factor=10.0)
        journey = stand.run(OURS, world, replace(settings, slow=(time_,)), trade_off=arguments.trade_off, bounded=True)
        runs.append({"llm": time_.llm, **_slow_figures(world, usual, journey, column, time_)})
        print(runs[-1], flush=True)
    return {"base": arguments.base, "trade_off": arguments.trade_off, "runs": runs, **_means(runs)}


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


# ---- speed ------------------------------------------------------------------------------------------------------------


def _speed(dataset: Dataset, settings: LoadSettings, arguments: argparse.Namespace) -> dict[str, Any]:
    settings = replace(settings, remember=False, duration_s=120.0)
    arguments.seeds = min(arguments.seeds, 3)
    ratios = []
    for stand in _stands(dataset, arguments, [OURS]):
        world = stand.world(settings, rate_per_s=10.0, trace_s=None)
        began_s = time.perf_counter()
        stand.run(OURS, world, settings, trade_off=arguments.trade_off, bounded=True)
        ratios.append(settings.duration_s / (time.perf_counter() - began_s))
        print(ratios[-1], flush=True)
    return {"rate_per_s": 10.0, "simulated_over_real": ratios}


def _mean(values: list[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return {"mean": None, "se": None, "reached": len(known)}
    array = np.array(known)
    error = float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else None
    return {"mean": round(float(array.mean()), 5), "se": None if error is None else round(error, 5)}


def _means(runs: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name in runs[0] if name != "llm"]
    worst = {name: [run[name] for run in runs] for name in names}
    return {
        "mean": {name: _mean(values) for name, values in worst.items()},
        "most": {name: None if None in values else max(values) for name, values in worst.items()},
    }


if __name__ == "__main__":
    main()
