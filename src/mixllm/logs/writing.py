"""A routing log as the columns of its two parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixllm.errors import LogError
from mixllm.logs.outcome_table import PROPENSITY
from mixllm.logs.query_table import ENCODED_TEXT, ENCODER, ENCODING, EXPORT_COLUMNS, OWN_COLUMNS
from mixllm.logs.routing_log import RoutingLog

__all__ = ["outcome_columns", "query_columns", "write_table"]

_OPTIONAL = ("tokens_in", "tokens_out", "latency_s", "ttft_s")


def query_columns(log: RoutingLog) -> dict[str, Any]:
    """Return the columns of ``queries.parquet``; raises `LogError` where a label takes the name of one of them."""
    columns: dict[str, Any] = {
        "query_id": pa.array(log.query_ids, pa.string()),
        "prompt": pa.array(log.prompts, pa.string()),
    }
    if any(system is not None for system in log.systems):
        columns["system"] = pa.array(log.systems, pa.string())
    if log.questions is not None:
        columns[ENCODED_TEXT] = pa.array(log.questions, pa.string())
    if log.encodings is not None:
        numbers = pa.array(log.encodings.reshape(-1), pa.float32())
        ends = np.arange(len(log) + 1, dtype=np.int64) * log.encodings.shape[1]
        columns[ENCODING] = pa.LargeListArray.from_arrays(pa.array(ends), numbers)
        columns[ENCODER] = pa.array([log.encoder] * len(log), pa.string())
    own = OWN_COLUMNS if log.encodings is None else OWN_COLUMNS | EXPORT_COLUMNS
    for name, values in log.labels.items():
        if name in own:
            raise LogError(f"Log {log.name!r}: a label is named {name!r}, as a column of the log. Rename the label.")
        columns[name] = pa.array(values, pa.string())
    return columns


def outcome_columns(log: RoutingLog) -> dict[str, Any]:
    """Return the columns of ``outcomes.parquet``: the LLMs that were asked, query by query."""
    rows, llm_columns = np.nonzero(log.asked)
    columns: dict[str, Any] = {
        "query_id": pa.array([log.query_ids[row] for row in rows.tolist()], pa.string()),
        "model": pa.array([log.llms[column] for column in llm_columns.tolist()], pa.string()),
        "quality": pa.array(log.quality[rows, llm_columns], from_pandas=True),
        "cost_usd": log.cost_usd[rows, llm_columns],
    }
    for name in _OPTIONAL:
        values = getattr(log, name)[rows, llm_columns]
        if not np.isnan(values).all():
            columns[name] = pa.array(values, from_pandas=True)
    if log.propensities is not None:
        columns[PROPENSITY] = pa.array(log.propensities[rows, llm_columns], from_pandas=True)
    if log.answers is not None:
        answers = [log.answers[row][column] for row, column in zip(rows.tolist(), llm_columns.tolist(), strict=True)]
        columns["answer"] = pa.array(answers, pa.string())
    return columns


def write_table(columns: dict[str, Any], file: Path) -> None:
    """Write one parquet file."""
    pq.write_table(pa.table(columns), file, compression="zstd")
