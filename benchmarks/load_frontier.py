"""Frontiers under the constraint of time, beside those without it and what is possible; see benchmarks.load."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.load_stands import SERVERS, capacity_per_s, mean, stands
from mixllm.evaluation.contender import Predictions
from mixllm.evaluation.frontier import Frontier, upper_hull
from mixllm.evaluation.load.figures import Figures, figures
from mixllm.evaluation.load.fluid import fluid_assignment
from mixllm.evaluation.load.loading import OURS, LoadSettings, Stand
from mixllm.evaluation.load.service import lengths_of
from mixllm.evaluation.metrics import BUDGET, TARGET
from mixllm.evaluation.mixllm_router import MixLLMRouter
from mixllm.evaluation.splits import Dataset

_TRADE_OFFS = (0.0, 0.2, 0.6, 1.4, 3.0, 6.0, 12.0, 30.0, 1000.0)
_MORE_TRADE_OFFS = tuple(np.concatenate([[0.0], np.logspace(-1.5, 3.0, 24)]).round(4).tolist())
_FLUID_TRADE_OFFS = (0.0, 0.6, 1.4, 3.0, 6.0, 12.0, 30.0, 1000.0)
_COSTS = 20
_FIELDS = ("quality", "cost", "missed", "shed", "wait_mean_s", "wait_p95_s", "wait_p99_s", "latency_p99_s")

_Points = list[tuple[float, Figures]]


def frontier(dataset: Dataset, settings: LoadSettings, arguments: argparse.Namespace) -> dict[str, Any]:
    levels: dict[str, list[dict[str, _Points]]] = {}
    for stand in stands(dataset, arguments, arguments.routers):
        ours = MixLLMRouter()
        ours.fit(stand.split.training(), np.random.default_rng([stand.split.seed, 3]))
        hopes = ours.predict(stand.split.queries())
        for load in (None, *arguments.loads):
            rate = (load or arguments.loads[0]) * capacity_per_s(stand)
            world = stand.world(settings, rate_per_s=rate, trace_s=None)
            row: dict[str, _Points] = {}
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
    servers = np.full(len(stand.speeds), SERVERS)
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


def _hull(points: _Points) -> Frontier:
    return upper_hull([one.cost for _, one in points], [one.quality for _, one in points])


def _level(rows: list[dict[str, _Points]], free: list[dict[str, _Points]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in rows[0]:
        hulls = [_hull(row[name]) for row in rows]
        points = [
            {
                "trade_off": v,
                **{field: mean([getattr(row[name][place][1], field) for row in rows]) for field in _FIELDS},
            }
            for place, (v, _) in enumerate(rows[0][name])
        ]
        found[name] = {
            "cost_at_97_25": mean([hull.cost_at(TARGET) for hull in hulls]),
            "quality_at_24_18": mean([hull.quality_at(BUDGET) for hull in hulls]),
            "max_quality": mean([float(hull.quality[-1]) for hull in hulls]),
            "most_missed": max(one.missed for row in rows for _, one in row[name]),
            "points": points,
        }
    for ours in (name for name in (OURS, f"fluid:{OURS}") if name in rows[0]):
        kept = [_kept(_hull(row[ours]), _hull(unbound[ours])) for row, unbound in zip(rows, free, strict=True)]
        found[ours]["kept"] = {what: mean([one[what] for one in kept]) for what in kept[0]}
    found["ahead"] = _ahead(rows)
    return found


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


def _ahead(rows: list[dict[str, _Points]]) -> dict[str, Any]:
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
