"""The demo over several seeds: pool, gateway and traffic as processes of their own, through HTTP, from a cold start."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.measuring import store

_QUALITY, _COST = 0.95, 0.45
"""What the whole run must reach."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of a routing log")
    parser.add_argument("--queries", type=int, default=3000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5])
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        runs.append(_run(arguments.data, queries=arguments.queries, seed=seed))
        # After each run, so that a stopped benchmark leaves what it has.
        path = store(
            f"demo_{arguments.data.name}",
            {"queries": arguments.queries, "aims_met_by": sum(run["all"] for run in runs), "runs": runs},
            command=f"python -m benchmarks.demo_runs --data {arguments.data.name}",
        )
        print(f"seed {seed}: {runs[-1]['met']}, kept in {path}", flush=True)


def _run(data: Path, *, queries: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "mixllm", "demo", "--data", str(data), "--queries", str(queries)]
    done = subprocess.run([*command, "--seed", str(seed), "--json"], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    first, last = result["thirds"][0], result["thirds"][2]
    met = {
        "quality": result["quality_ratio"] >= _QUALITY,
        "cost": result["cost_ratio"] <= _COST,
        "quality rises": last["quality_ratio"] > first["quality_ratio"],
        "cost falls": last["cost_ratio"] < first["cost_ratio"],
    }
    return {
        "seed": seed,
        **{key: result[key] for key in ("quality_ratio", "cost_ratio", "thirds", "trade_off", "failed", "seconds")},
        "shares": {llm: round(found["share"], 4) for llm, found in result["per_llm"].items()},
        "met": met,
        "all": all(met.values()),
    }


if __name__ == "__main__":
    main()
