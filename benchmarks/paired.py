"""MixLLM against every other router on the same splits: mean differences, with their standard errors.

    python -m benchmarks.paired DIR    # the --out of mixllm bench

Writes DIR/splits.json (every router's metrics, split by split) and prints the tables of docs/benchmark.md.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

OURS = "mixllm"
AIMLESS = ("oracle", "random", "cheapest")


def main() -> None:
    folder = Path(sys.argv[1])
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    for line in (folder / "journal.jsonl").read_text().splitlines():
        if not line.strip():
            continue  # A run that was stopped begins its next entry on a line of its own.
        entry = json.loads(line)
        if "trial" in entry:
            found[entry["dataset"].partition("/")[0]][entry["router"]][entry["split"]] = entry["trial"]["metrics"]
    (folder / "splits.json").write_text(json.dumps(found) + "\n")
    for dataset, routers in found.items():
        print(f"\n| {dataset}: {OURS} against | AIQ | cost at 97.25 % |\n| --- | ---: | ---: |")
        for router, splits in routers.items():
            if router in (OURS, *AIMLESS) or router.startswith("single:"):
                continue
            gains = [routers[OURS][split]["aiq"] - metrics["aiq"] for split, metrics in splits.items()]
            costs = [
                (routers[OURS][split]["cost_at_97_25"], metrics["cost_at_97_25"]) for split, metrics in splits.items()
            ]
            saved = [ours - theirs for ours, theirs in costs if ours is not None and theirs is not None]
            print(f"| {router} | {difference(gains)} | {difference(saved)} |")


def difference(values: list[float]) -> str:
    if len(values) < 2:
        return "–"
    return f"{np.mean(values):+.4f} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.4f}"


if __name__ == "__main__":
    main()
