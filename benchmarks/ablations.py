"""What each part of MixLLM is worth: one thing changed at a time, on the same splits.

    python -m benchmarks.ablations --data DIR [--data DIR …] --splits 10 [--minilm FOLDER]

Writes benchmarks/results/ablations.json and prints the tables of docs/benchmark.md.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixllm.encoders import HashingEncoder, StaticEncoder, TransformerEncoder
from mixllm.evaluation.bands import band_gains
from mixllm.evaluation.bench import one_thread
from mixllm.evaluation.contender import Contender
from mixllm.evaluation.mixllm_router import MixLLMRouter
from mixllm.evaluation.splits import Dataset, prepare, random_splits
from mixllm.evaluation.trial import Trial, run_trial
from mixllm.evaluation.variants import VARIANTS, JoiningRouter
from mixllm.interfaces import Encoder
from mixllm.logs import RoutingLog, open_log

RESULTS = Path(__file__).parent / "results" / "ablations.json"
METRICS = ("cost_at_97_25", "quality_at_24_18", "aiq")
JOINING = ("llama3.1-8b", "llama3.1-70b")
"""The two LLMs that the paper adds, where a log has them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", action="append", type=Path, required=True)
    parser.add_argument("--reference", action="append", default=[])
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minilm", type=Path, help="folder of a sentence transformer, for the table of encoders")
    options = parser.parse_args()
    results: dict[str, Any] = {"splits": options.splits, "seed": options.seed, "datasets": {}}
    if RESULTS.is_file():
        kept = json.loads(RESULTS.read_text())
        if (kept["splits"], kept["seed"]) == (options.splits, options.seed):
            results["datasets"] = kept["datasets"]  # Other logs' results stay: a log can be run by itself.
    with one_thread():
        for folder in options.data:
            log = open_log(folder)
            reference = next((name for name in options.reference if name in log.llms), None)
            found = ablate(log, reference, splits=options.splits, seed=options.seed, minilm=options.minilm)
            results["datasets"][log.name] = found
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            show(log.name, found)


def ablate(log: RoutingLog, reference: str | None, *, splits: int, seed: int, minilm: Path | None) -> dict[str, Any]:
    started = time.perf_counter()
    dataset = prepare(log, encoder=StaticEncoder.wordllama(), reference=reference)
    trials = {
        name: trials_of(make, dataset, splits, seed) for name, make in {"mixllm": MixLLMRouter, **VARIANTS}.items()
    }
    found: dict[str, Any] = {
        "reference": dataset.reference,
        "variants": {name: summary(runs) for name, runs in trials.items()},
        "against_mixllm": {name: paired(trials["mixllm"], runs) for name, runs in trials.items() if name != "mixllm"},
        "tag_gain_by_band": [
            {"low": gain.low, "high": gain.high, "gain": gain.gain, "se": gain.se}
            for gain in band_gains(
                [run.frontier() for run in trials["mixllm"]], [run.frontier() for run in trials["mixllm:no-tags"]]
            )
        ],
        "encoders": encoders(log, dataset, trials["mixllm"], splits, seed, minilm),
        "unseen_domains": unseen_domains(dataset, seed),
    }
    if set(JOINING) <= set(log.llms):
        found["joining"] = joining(log, dataset, splits, seed)
    found["seconds"] = round(time.perf_counter() - started, 1)
    return found


def trials_of(make: Callable[[], Contender], dataset: Dataset, splits: int, seed: int) -> list[Trial]:
    contender = make()
    return [run_trial(contender, split, tune=False) for split in random_splits(dataset, splits=splits, seed=seed)]


def encoders(
    log: RoutingLog, dataset: Dataset, static: Sequence[Trial], splits: int, seed: int, minilm: Path | None
) -> dict[str, Any]:
    found = {"wordllama + lexical (default)": summary(static)}
    others: dict[str, Encoder] = {"hashing": HashingEncoder()}
    if minilm is not None:
        others["minilm"] = TransformerEncoder.from_folder(minilm, batch=64)
    for name, encoder in others.items():
        other = prepare(log, encoder=encoder, reference=dataset.reference)
        found[name] = summary(trials_of(MixLLMRouter, other, splits, seed))
    return found


def unseen_domains(dataset: Dataset, seed: int) -> list[dict[str, Any]]:
    """Test on a fifth of each domain, having learned from the rest of it or from no query of it."""
    if dataset.label is None:
        return []
    values = np.array(dataset.log.labels[dataset.label])
    rows: list[dict[str, Any]] = []
    for value in sorted(set(values.tolist())):
        inside, outside = np.flatnonzero(values == value), np.flatnonzero(values != value)
        order = np.random.default_rng([seed, len(rows)]).permutation(inside)
        test, rest = np.sort(order[: max(20, len(order) // 5)]), order[max(20, len(order) // 5) :]
        seen = np.sort(np.concatenate([outside, rest]))
        got = {
            name: run_trial(MixLLMRouter(), dataset.split(train, test, name=value, seed=seed), tune=False).metrics
            for name, train in (("seen", seen), ("unseen", outside))
        }
        rows.append(
            {
                "domain": value,
                "queries": len(test),
                **{
                    f"{name}_{metric}": getattr(metrics, metric)
                    for name, metrics in got.items()
                    for metric in ("aiq", "quality_at_24_18")
                },
            }
        )
    return rows


def joining(log: RoutingLog, dataset: Dataset, splits: int, seed: int) -> dict[str, Any]:
    """The pool without the two LLMs, with them trained alone, and with all trained together."""
    fewer = prepare(
        log.select_llms([llm for llm in log.llms if llm not in JOINING]),
        encoder=dataset.encoder,
        reference=dataset.reference,
    )
    return {
        "without": summary(trials_of(MixLLMRouter, fewer, splits, seed)),
        "joined, trained alone": summary(
            trials_of(lambda: JoiningRouter(name="joining", joining=JOINING), dataset, splits, seed)
        ),
        "trained together": summary(trials_of(MixLLMRouter, dataset, splits, seed)),
    }


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    found: dict[str, Any] = {"fit_s": round(float(np.median([trial.fit_s for trial in trials])), 2)}
    for metric in METRICS:
        values = [getattr(trial.metrics, metric) for trial in trials]
        known = [value for value in values if value is not None]
        found[metric] = {
            "mean": float(np.mean(known)) if len(known) == len(values) else None,
            "se": float(np.std(known, ddof=1)) / math.sqrt(len(known)) if len(known) > 1 else None,
        }
    return found


def paired(ours: Sequence[Trial], theirs: Sequence[Trial]) -> dict[str, Any]:
    """Mean difference theirs − ours on the same splits, with its standard error."""
    found = {}
    for metric in METRICS:
        pairs = [(getattr(a.metrics, metric), getattr(b.metrics, metric)) for a, b in zip(ours, theirs, strict=True)]
        gaps = [b - a for a, b in pairs if a is not None and b is not None]
        found[metric] = {
            "mean": float(np.mean(gaps)) if gaps else None,
            "se": float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps)) if len(gaps) > 1 else None,
        }
    return found


def show(name: str, found: dict[str, Any]) -> None:
    print(f"\n### {name} (reference {found['reference']}, {found['seconds']} s)\n")
    print("| variant | cost at 97.25 % | quality at 24.18 % | AIQ | fit s |\n| --- | --- | --- | --- | --- |")
    tables = {**found["variants"], **{f"encoder: {key}": value for key, value in found["encoders"].items()}}
    tables |= {f"pool: {key}": value for key, value in found.get("joining", {}).items()}
    for key, row in tables.items():
        print(f"| {key} | {' | '.join(number(row[metric]) for metric in METRICS)} | {row['fit_s']} |")
    print("\n| band of cost | gain of tags |\n| --- | --- |")
    for band in found["tag_gain_by_band"]:
        gain = "–" if band["gain"] is None else f"{band['gain']:+.2%} ± {band['se'] or 0:.2%}"
        print(f"| {band['low']:.0%}–{band['high']:.0%} | {gain} |")
    print("\n| unseen domain | AIQ seen | AIQ unseen |\n| --- | --- | --- |")
    for row in found["unseen_domains"]:
        print(f"| {row['domain']} | {row['seen_aiq']:.4f} | {row['unseen_aiq']:.4f} |")


def number(value: dict[str, float | None]) -> str:
    if value["mean"] is None:
        return "not always reached"
    return f"{value['mean']:.4f}" + ("" if value["se"] is None else f" ± {value['se']:.4f}")


if __name__ == "__main__":
    main()
