"""How soon a collapse of the most used LLM is noticed, and what it costs until the router has got over it.

For each seed the router starts from nothing on a random order of the log, bandit feedback only. At query 2,000 the LLM
that took most of the last 500 queries collapses: half of its right answers turn wrong, at random, to the end of the
stream, query 4,000. Nobody tells the router. Beside it, from the same state, another goes on from which the LLM is
removed at that moment: it knows at once, and never looks back.

Noticed
    The answers of the LLM after the collapse until the alarm, and alarms of any LLM before it (all of them false).
Regret
    True reward of the best LLM of each query less that of the chosen one, per query, over the 1,000 queries before the
    collapse and over the last 1,000. After a collapse the best that a router can do changes as well: where the LLM was
    far better than all others, no router returns to the regret of before, not even the one that is told.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.measuring import store
from benchmarks.streaming import IN_FLIGHT, RouterInStep, Run, World
from mixllm.clock import ManualClock
from mixllm.config import LearningConfig, PolicyConfig, RoutingConfig
from mixllm.encoders import StaticEncoder
from mixllm.evaluation import prepare
from mixllm.logs import open_log
from mixllm.store import MemoryStore

_COLLAPSE_AT = 2_000
_END = 4_000
_WINDOW = 1_000
_LEFT_RIGHT = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the log cascades")
    parser.add_argument("--trade-offs", type=float, nargs="+", default=[1.4, 4.0])
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--policy", help="routing.policy as JSON; the default is MixLLM's own")
    parser.add_argument("--unwatched", action="store_true", help="without the drift watch, to compare with")
    parser.add_argument("--out", default="quality_collapse_cascades", help="name of the result")
    arguments = parser.parse_args()
    policy = msgspec.json.decode(arguments.policy, type=PolicyConfig) if arguments.policy else PolicyConfig()
    learning = LearningConfig(drift_answers_per_false_alarm=0.0) if arguments.unwatched else LearningConfig()
    dataset = prepare(open_log(arguments.data), encoder=StaticEncoder.wordllama())
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    found: dict[str, list[dict[str, Any]]] = {f"{trade_off:g}": [] for trade_off in arguments.trade_offs}
    for trade_off in arguments.trade_offs:
        world = World(dataset=dataset, trade_off=trade_off)
        for seed in seeds:
            found[f"{trade_off:g}"].append(_seed(world, policy, learning, seed))
            print(trade_off, found[f"{trade_off:g}"][-1], flush=True)
    result = {
        "log": dataset.log.name,
        "policy": msgspec.to_builtins(policy),
        "collapse_at": _COLLAPSE_AT,
        "window": _WINDOW,
        "seeds": list(seeds),
        "lambdas": {trade_off: _summary(runs) for trade_off, runs in found.items()},
    }
    command = f"python -m benchmarks.quality_collapse --data {arguments.data.name}"
    print(store(arguments.out, result, command=command).read_text())


def _seed(world: World, policy: PolicyConfig, learning: LearningConfig, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    log = world.dataset.log
    rows = rng.permutation(len(log))[:_END]
    spoiled = rng.uniform(size=len(log)) >= _LEFT_RIGHT
    run = _started(world, policy, learning, seed)
    run.route(rows[:_COLLAPSE_AT].tolist())
    used = _most_used(run)
    name = log.llms[used]
    told = _started(world, policy, learning, seed)
    told.router.adopt(run.router.learner.checkpoint())
    told.router.remove_llm(name)
    false = sum(status.falls + status.rises for status in run.router.learner.watch.statuses())
    falls = _falls(run.router, name)
    collapsed = _collapsed(log.quality, used, spoiled)
    run.quality[:] = told.quality[:] = collapsed
    noticed: int | None = None
    rest = rows[_COLLAPSE_AT:].tolist()
    for start in range(0, len(rest), IN_FLIGHT):
        run.route(rest[start : start + IN_FLIGHT])
        if noticed is None and _falls(run.router, name) > falls:
            noticed = sum(column == used for column in run.columns[_COLLAPSE_AT:])
    told.route(rest)
    after = world.reward_of(collapsed)
    best = after[rest].max(axis=1)
    regret = {"": best - after[rest, run.columns[_COLLAPSE_AT:]], "_told": best - after[rest, told.columns]}
    first = rows[:_COLLAPSE_AT]
    before = world.reward[first].max(axis=1) - world.reward[first, run.columns[:_COLLAPSE_AT]]
    statuses = run.router.learner.watch.statuses()
    run.router.close()
    told.router.close()
    return {
        "seed": seed,
        "llm": name,
        "share_before": round(float(np.mean(np.array(run.columns[_COLLAPSE_AT - 500 : _COLLAPSE_AT]) == used)), 3),
        "share_after": round(float(np.mean(np.array(run.columns[-_WINDOW:]) == used)), 3),
        "noticed_after_answers": noticed,
        "false_alarms": false,
        "alarms": sum(status.falls + status.rises for status in statuses),
        "regret_before": round(float(before[-_WINDOW:].mean()), 5),
        **{f"regret_next_500{who}": round(float(values[:500].mean()), 5) for who, values in regret.items()},
        **{f"regret_after{who}": round(float(values[-_WINDOW:].mean()), 5) for who, values in regret.items()},
    }


def _started(world: World, policy: PolicyConfig, learning: LearningConfig, seed: int) -> Run:
    clock = ManualClock()
    routing = RoutingConfig(
        trade_off=world.trade_off, reference_llm=world.dataset.reference, wait_weight=0.0, policy=policy
    )
    router = RouterInStep(
        llms=world.specs, routing=routing, learning=learning, store=MemoryStore(), clock=clock, seed=seed
    )
    return Run(router=router, clock=clock, world=world, quality=world.dataset.log.quality.copy())


def _most_used(run: Run) -> int:
    return int(np.bincount(run.columns[_COLLAPSE_AT - 500 : _COLLAPSE_AT]).argmax())


def _collapsed(
    quality: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    column: int,
    spoiled: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    changed = quality.copy()
    changed[spoiled, column] = 0.0
    return changed


def _falls(router: RouterInStep, llm: str) -> int:
    return sum(status.falls for status in router.learner.watch.statuses() if status.llm == llm)


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    noticed = [run["noticed_after_answers"] for run in runs]
    known = [answers for answers in noticed if answers is not None]
    before = np.array([run["regret_before"] for run in runs])
    means = {
        name: round(float(np.mean([run[name] for run in runs])), 5)
        for name in runs[0]
        if name.startswith(("regret", "share"))
    }
    ratios = {f"ratio{who}": np.array([run[f"regret_after{who}"] for run in runs]) / before for who in ("", "_told")}
    return {
        "noticed": len(known),
        "of": len(runs),
        "answers_median": float(np.median(known)) if known else None,
        "answers_worst": max(known, default=None),
        "false_alarms": sum(run["false_alarms"] for run in runs),
        **means,
        **{
            name: {
                "mean": round(float(ratio.mean()), 4),
                "se": round(float(ratio.std(ddof=1) / np.sqrt(len(ratio))), 4) if len(ratio) > 1 else None,
                "worst": round(float(ratio.max()), 4),
                "seeds_within_20_percent": int((ratio <= 1.2).sum()),
            }
            for name, ratio in ratios.items()
        },
        "runs": runs,
    }


if __name__ == "__main__":
    main()
