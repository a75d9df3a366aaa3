"""What every benchmark shares: timing loops, percentiles, and results stored with their circumstances."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def times_s(call: Callable[[], object], *, repeats: int, warm_up: int = 50) -> list[float]:
    """Return how long each of `repeats` calls took, after some that do not count."""
    for _ in range(warm_up):
        call()
    measured = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        call()
        measured.append(time.perf_counter() - started_s)
    return measured


def summary_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Return p10, p50 and p99 in milliseconds; p10 tells what the machine can do when nobody else uses it."""
    p10, p50, p99 = np.percentile(np.asarray(seconds) * 1000, [10, 50, 99])
    return {"p10": round(float(p10), 4), "p50": round(float(p50), 4), "p99": round(float(p99), 4), "n": len(seconds)}


def store(name: str, result: dict[str, Any], *, command: str) -> Path:
    """Write `result` with the machine's circumstances into ``benchmarks/results/{name}.json``."""
    RESULTS.mkdir(exist_ok=True)
    circumstances = {
        "command": command,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**result, "measured_with": circumstances}, indent=2) + "\n")
    return path
