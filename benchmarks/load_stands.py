"""What the benchmarks of load share: trained stands, the pool's capacity, means over seeds."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mixllm.evaluation.load.loading import Stand
from mixllm.evaluation.load.service import speeds_of
from mixllm.evaluation.load.world import pool_capacity_per_s
from mixllm.evaluation.splits import Dataset, random_splits

SERVERS = 1
"""Calls that each LLM serves at a time."""


def stands(dataset: Dataset, arguments: argparse.Namespace, routers: Sequence[str]) -> Iterator[Stand]:
    speeds = speeds_of(dataset.log, measured=arguments.speeds)
    names: list[str] = []
    for name in routers:
        names += [f"single:{llm}" for llm in dataset.log.llms] if name == "single" else [name]
    for number, split in enumerate(random_splits(dataset, splits=arguments.seeds, seed=arguments.first_seed)):
        began_s = time.perf_counter()
        stand = Stand.prepare(split, speeds=speeds, routers=names, told=lambda _: None)
        print(f"seed {number}: trained in {time.perf_counter() - began_s:.0f} s", flush=True)
        yield stand


def capacity_per_s(stand: Stand) -> float:
    return pool_capacity_per_s(np.asarray(stand.service_s), np.full(len(stand.speeds), SERVERS))


def mean(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return {"mean": None, "se": None, "reached": len(known)}
    array = np.array(known)
    error = float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else None
    return {"mean": round(float(array.mean()), 5), "se": None if error is None else round(error, 5)}


def means(runs: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name in runs[0] if name != "llm"]
    worst = {name: [run[name] for run in runs] for name in names}
    return {
        "mean": {name: mean(values) for name, values in worst.items()},
        "most": {name: None if None in values else max(values) for name, values in worst.items()},
    }
