"""Small routing logs, in memory and as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixllm.logs import RoutingLog

__all__ = ["QUERIES", "arrays", "make_log", "outcomes", "write_folder"]

QUERIES: dict[str, Any] = {"query_id": ["q0", "q1", "q2"], "prompt": ["a", "b", "c"]}


def outcomes(**changed: Any) -> dict[str, Any]:
    """Return the columns of a good ``outcomes.parquet`` with some replaced; None drops a column."""
    columns: dict[str, Any] = {
        "query_id": ["q0", "q0", "q1", "q1", "q2"],
        "model": ["big", "small", "small", "big", "big"],
        "quality": [1.0, 0.0, 0.5, 1.0, 0.0],
        "cost_usd": [0.4, 0.1, 0.1, 0.5, 0.6],
    }
    return {name: values for name, values in (columns | changed).items() if values is not None}


def write_folder(folder: Path, *, queries: dict[str, Any] | None = None, rows: dict[str, Any] | None = None) -> Path:
    """Write a log folder from columns."""
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(QUERIES if queries is None else queries), folder / "queries.parquet")
    pq.write_table(pa.table(outcomes() if rows is None else rows), folder / "outcomes.parquet")
    return folder


def arrays(scores: Any, /, **changed: Any) -> dict[str, NDArray[np.float64]]:
    """Return the arrays of a log of this quality: costs of 1, 2, …, and nothing else known."""
    qualities = np.array(scores, dtype=np.float64)
    costs = np.where(np.isnan(qualities), np.nan, np.arange(1.0, qualities.shape[1] + 1))
    found = {"quality": qualities, "cost_usd": costs}
    found |= {name: np.full(qualities.shape, np.nan) for name in ("tokens_in", "tokens_out", "latency_s", "ttft_s")}
    return found | {name: np.array(values, dtype=np.float64) for name, values in changed.items()}


def make_log(scores: Any, /, **changed: Any) -> RoutingLog:
    """Return a log of this quality (that of `changed` goes first), LLMs named a, b, …."""
    array_names = ("quality", "cost_usd", "tokens_in", "tokens_out", "latency_s", "ttft_s")
    found = arrays(scores, **{name: changed.pop(name) for name in array_names if name in changed})
    queries, llms = np.array(scores).shape
    fields: dict[str, Any] = {
        "name": "made",
        "query_ids": tuple(f"q{row}" for row in range(queries)),
        "prompts": tuple(f"prompt {row}" for row in range(queries)),
        "systems": (None,) * queries,
        "labels": {"domain": tuple(f"d{row % 2}" for row in range(queries))},
        "llms": tuple("abcdefgh"[:llms]),
    }
    return RoutingLog(**(fields | found | changed))
