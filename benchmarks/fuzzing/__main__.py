"""``python -m benchmarks.fuzzing TARGET --cases 100000 --seed 1``: fuzz one of the targets, result in results/."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from benchmarks.fuzzing.campaign import campaign
from benchmarks.fuzzing.target import Target
from benchmarks.measuring import store

TARGETS = {
    "config": "config_target:ConfigTarget",
    "logs": "logs_target:LogsTarget",
    "sse": "sse_target:SSETarget",
    "streams": "streams_target:StreamsTarget",
    "states": "states_target:StatesTarget",
    "stores": "stores_target:StoresTarget",
}


def target_of(name: str) -> Target:
    """Return the target of that name."""
    module, _, kind = TARGETS[name].partition(":")
    target: Target = getattr(importlib.import_module(f"benchmarks.fuzzing.{module}"), kind)()
    return target


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzzing")
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="stop after so long; run again to go on")
    parser.add_argument("--partial", type=Path, default=Path(tempfile.gettempdir()) / "mixllm-fuzzing")
    options = parser.parse_args()
    faults = 0
    for name in TARGETS if options.target == "all" else [options.target]:
        partial = options.partial / f"{name}-{options.seed}.json"
        with closing(target_of(name)) as target:
            run = campaign(target, seed=options.seed, cases=options.cases, partial=partial, limit_s=options.limit_s)
        run["cases_per_s"] = round(run["done"] / max(run["wall_s"], 1e-9), 1)
        for fault in (*run["faults"].values(), *run["mended"].values()):
            fault.pop("trace", None)
            fault["bytes"] = fault.get("bytes", "")[:2000]
        command = f"python -m benchmarks.fuzzing {name} --cases {options.cases} --seed {options.seed}"
        print(store(f"fuzz_{name}", run, command=command))
        faults += len(run["faults"])
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
