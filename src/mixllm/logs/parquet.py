"""Routing logs as a folder of two parquet files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import LogError, MissingExtraError, did_you_mean
from mixllm.logs.routing_log import RoutingLog

__all__ = ["OUTCOMES_FILE", "QUERIES_FILE", "read_log", "write_log"]

QUERIES_FILE = "queries.parquet"
OUTCOMES_FILE = "outcomes.parquet"


def read_log(path: str | os.PathLike[str], *, llms: Sequence[str] | None = None) -> RoutingLog:
    """Read the routing log in the folder `path`.

    ``queries.parquet`` has ``query_id``, ``prompt`` or ``messages`` (a JSON string or a list of structs, as OpenAI's
    API takes them), optionally ``system``; its further columns become labels, as text, an empty one where a value is
    missing. Nested and binary columns, and pandas' index, do not. ``outcomes.parquet`` has one row per query and LLM
    that was asked: ``query_id``, ``model``, ``quality`` in [0, 1], ``cost_usd``, and optionally ``tokens_in``,
    ``tokens_out``, ``latency_s``, ``ttft_s`` and ``answer``.

    Parameters
    ----------
    path
        The folder; its name becomes the log's.
    llms
        Names of the LLMs to keep, in this order; None keeps all, in the order of their first rows.

    Raises
    ------
    LogError
        Where a file or a column is missing, an id or a pair of query and LLM comes twice, a value is out of range or
        missing, an outcome belongs to no query, or a query or an LLM has no outcome. Rows are counted from 0.
    MissingExtraError
        Where pyarrow is not installed.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise LogError(f"{folder} is not a folder. Give the path of a folder with {QUERIES_FILE} and {OUTCOMES_FILE}.")
    _require_pyarrow()
    from mixllm.logs.outcome_table import read_outcomes
    from mixllm.logs.query_table import read_queries

    queries = read_queries(folder / QUERIES_FILE)
    outcomes = read_outcomes(folder / OUTCOMES_FILE, query_ids=queries.query_ids)
    log = RoutingLog(
        name=folder.resolve().name,
        query_ids=queries.query_ids,
        prompts=queries.prompts,
        systems=queries.systems,
        labels=queries.labels,
        llms=outcomes.llms,
        answers=outcomes.answers,
        **outcomes.arrays,
    )
    if llms is not None:
        for llm in llms:
            if llm not in log.llms:
                raise LogError(
                    f"{folder / OUTCOMES_FILE}, column model: no row of LLM {llm!r}.{did_you_mean(llm, log.llms)} "
                    f"It has: {', '.join(log.llms)}."
                )
        log = log.select_llms(llms)
    _check_each_query_was_asked(log, folder / OUTCOMES_FILE)
    return log


def write_log(log: RoutingLog, path: str | os.PathLike[str]) -> None:
    """Write `log` into the folder `path`, which is made where it is missing; `read_log` gives the same log back.

    Raises
    ------
    LogError
        Where a label is named as one of the log's own columns.
    MissingExtraError
        Where pyarrow is not installed.
    """
    _require_pyarrow()
    from mixllm.logs.writing import outcome_columns, query_columns, write_table

    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(query_columns(log), folder / QUERIES_FILE)
    write_table(outcome_columns(log), folder / OUTCOMES_FILE)


def _check_each_query_was_asked(log: RoutingLog, file: Path) -> None:
    unasked: NDArray[np.intp] = np.flatnonzero(~log.asked.any(axis=1))
    if unasked.size:
        first = int(unasked[0])
        raise LogError(
            f"{file}, column query_id: {unasked.size} queries have no outcome, the first is {log.query_ids[first]!r} "
            f"(row {first} of {QUERIES_FILE}). Add their outcomes, or remove the queries."
        )


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise MissingExtraError("Reading and writing routing logs", "logs") from error
