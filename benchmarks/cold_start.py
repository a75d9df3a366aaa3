"""Quality and cost from a cold start: the router itself, without HTTP, over the queries of a routing log.

Bandit feedback only: the router sees quality and tokens of the LLM that it chose. For each λ and seed the log is
shuffled, routed once from nothing, and compared with every LLM alone. The figure is the README's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import store
from mixllm import LLMSpec, Outcome, Query, Router
from mixllm.config import LearningConfig, PolicyConfig, RoutingConfig
from mixllm.logs import RoutingLog, read_log
from mixllm.playback import AnswerBook, synthetic_log

_IN_FLIGHT = 32
"""Answers that are under way when the next query is decided, as with concurrent clients."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of a routing log; without it a synthetic one is made")
    parser.add_argument("--queries", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--reference", help="LLM to compare with; without it the strongest")
    parser.add_argument("--lambdas", type=float, nargs="+", default=[2.0, 4.0, 7.0, 10.0])
    parser.add_argument("--figure", type=Path, help="where to write the frontier as SVG")
    arguments = parser.parse_args()
    log = read_log(arguments.data) if arguments.data else synthetic_log(queries=arguments.queries, seed=0)
    reference = arguments.reference or log.strongest()
    policy = PolicyConfig(name="thompson", scale=0.3, warmup_judgements=40, warmup_share=0.6)
    runs = {
        f"{trade_off:g}": [
            _run(log, reference=reference, trade_off=trade_off, policy=policy, queries=arguments.queries, seed=seed)
            for seed in range(arguments.seeds)
        ]
        for trade_off in arguments.lambdas
    }
    result = {
        "log": log.name,
        "reference": reference,
        "queries": min(arguments.queries, len(log)),
        "seeds": arguments.seeds,
        "routing": "as the demo: thompson 0.3, warm-up of 40 at 60 %, caution 1.5 over 400, level precision 300",
        "singles": _singles(log, reference),
        "lambdas": {trade_off: _summary(parts) for trade_off, parts in runs.items()},
    }
    path = store(
        f"cold_start_{log.name}",
        result,
        command=f"python -m benchmarks.cold_start --data {arguments.data.name if arguments.data else 'synthetic'}",
    )
    print(path.read_text())
    if arguments.figure:
        _draw(result, arguments.figure)


def _run(
    log: RoutingLog, *, reference: str, trade_off: float, policy: PolicyConfig, queries: int, seed: int
) -> NDArray[np.float64]:
    """Return quality and cost ratios of the whole run and of its thirds, shape (4, 2)."""
    book = AnswerBook(log=log)
    order = np.random.default_rng(seed).permutation(len(log))[:queries]
    router = Router(
        llms=[LLMSpec(name=llm, price=book.price(llm)) for llm in log.llms],
        routing=RoutingConfig(
            trade_off=trade_off, reference_llm=reference, caution=1.5, caution_judgements=400.0, policy=policy
        ),
        learning=LearningConfig(recipe={"level_precision": 300.0}),
        seed=seed,
    )
    chosen: list[int] = []
    waiting: list[tuple[str, int, int]] = []
    with router:
        for row in order:
            decision = router.route(Query(text=log.prompts[row], tokens_in=int(log.tokens_in[row, 0])))
            column = log.column(decision.llm)
            chosen.append(column)
            waiting.append((decision.decision_id, int(row), column))
            if len(waiting) == _IN_FLIGHT:
                _tell(router, log, waiting)
                waiting = []
    rows, columns = np.asarray(order), np.asarray(chosen)
    parts = [np.arange(len(rows)), *np.array_split(np.arange(len(rows)), 3)]
    best = log.column(reference)
    return np.array(
        [
            [
                table[rows[part], columns[part]].sum() / table[rows[part], best].sum()
                for table in (log.quality, log.cost_usd)
            ]
            for part in parts
        ]
    )


def _tell(router: Router, log: RoutingLog, waiting: Sequence[tuple[str, int, int]]) -> None:
    for decision_id, row, column in waiting:
        router.record(
            decision_id,
            Outcome(
                tokens_in=int(log.tokens_in[row, column]),
                tokens_out=int(log.tokens_out[row, column]),
                cost_usd=float(log.cost_usd[row, column]),
                latency_s=float(log.latency_s[row, column]),
            ),
        )
        router.submit_feedback(decision_id, quality=float(log.quality[row, column]))
    router.learn()


def _singles(log: RoutingLog, reference: str) -> dict[str, dict[str, float]]:
    best = log.column(reference)
    quality, cost = log.mean_quality(), log.mean_cost_usd()
    return {
        llm: {
            "quality_ratio": round(float(quality[column] / quality[best]), 4),
            "cost_ratio": round(float(cost[column] / cost[best]), 4),
        }
        for column, llm in enumerate(log.llms)
    }


def _summary(parts: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
    runs = np.stack(parts)
    mean, se = runs.mean(axis=0), runs.std(axis=0, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else runs[0] * 0
    names = ("whole", "first_third", "second_third", "last_third")
    better = (runs[:, 3, 0] > runs[:, 1, 0]) & (runs[:, 3, 1] < runs[:, 1, 1])
    return {
        "last_third_better_in_both": int(better.sum()),
        **{
            name: {
                metric: {"mean": round(float(mean[row, column]), 4), "se": round(float(se[row, column]), 4)}
                for column, metric in enumerate(("quality_ratio", "cost_ratio"))
            }
            for row, name in enumerate(names)
        },
    }


def _draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "mixllm"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), constrained_layout=True)
    for llm, ratios in result["singles"].items():
        axes.scatter(ratios["cost_ratio"], ratios["quality_ratio"], color="0.55", s=24)
        axes.annotate(
            llm,
            (ratios["cost_ratio"], ratios["quality_ratio"]),
            fontsize=7,
            color="0.35",
            xytext=(4, -8),
            textcoords="offset points",
        )
    for name, label, colour in (
        ("whole", "MixLLM, whole run from a cold start", "C0"),
        ("last_third", "MixLLM, last third", "C1"),
    ):
        points = sorted(
            (
                run[name]["cost_ratio"]["mean"],
                run[name]["quality_ratio"]["mean"],
                run[name]["cost_ratio"]["se"],
                run[name]["quality_ratio"]["se"],
            )
            for run in result["lambdas"].values()
        )
        cost, quality, cost_se, quality_se = (list(column) for column in zip(*points, strict=True))
        axes.errorbar(cost, quality, xerr=cost_se, yerr=quality_se, marker="o", capsize=2, label=label, color=colour)
    axes.set_xlabel(f"cost, as a share of always {result['reference']}")
    axes.set_ylabel("quality, as a share of it")
    axes.set_title(
        f"{result['log']}: {result['queries']} queries, bandit feedback only, {result['seeds']} seeds, ± one SE",
        fontsize=9,
    )
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.2)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
