"""When the demo's queries come, where they come in their own time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixllm.demo.settings import DemoSettings
from mixllm.evaluation.load.arrivals import arrival_times, read_trace

__all__ = ["planned_arrivals"]

_RATE_PER_S = 5.0
_TRACE = Path("traces") / "azure_llm_2023_conv.parquet"


def planned_arrivals(settings: DemoSettings, *, say: Callable[[str], None]) -> NDArray[np.float64] | None:
    """Return the seconds from the start at which queries come, at recorded speed; None where arrivals are closed.

    Where arrivals are to follow a trace and there is none, they come in bursts, and `say` is told so.

    Raises
    ------
    LogError
        Where the trace cannot be read.
    """
    kind = settings.arrivals
    if kind == "closed":
        return None
    rng = np.random.default_rng(settings.seed)
    trace_s: NDArray[np.float64] | None = None
    rate_per_s = settings.rate_per_s or _RATE_PER_S
    if kind == "trace":
        file = settings.trace or _beside(settings.data)
        if file is None:
            say("no trace is given (--trace FILE), and none lies beside the data: queries come in bursts instead")
            kind = "bursts"
        else:
            trace_s = read_trace(file)
            rate_per_s = settings.rate_per_s or (len(trace_s) - 1) / float(trace_s[-1] - trace_s[0])
    return arrival_times(kind, rate_per_s=rate_per_s, duration_s=settings.duration_s, rng=rng, trace_s=trace_s)


def _beside(data: Path | None) -> Path | None:
    file = None if data is None else data.resolve().parent / _TRACE
    return file if file is not None and file.is_file() else None
