"""Routing logs as a folder of two parquet files."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import LogError, MissingExtraError, did_you_mean
from mixllm.logs.findings import Broken, Findings, Mode, mode_of
from mixllm.logs.routing_log import RoutingLog

__all__ = [
    "OUTCOMES_FILE",
    "QUERIES_FILE",
    "read_folder",
    "read_log",
    "require_pyarrow",
    "say_left_out",
    "write_log",
]

_logger = logging.getLogger("mixllm.logs")

QUERIES_FILE = "queries.parquet"
OUTCOMES_FILE = "outcomes.parquet"


def read_log(
    path: str | os.PathLike[str], *, llms: Sequence[str] | None = None, broken: Broken = "refuse"
) -> RoutingLog:
    """Read the routing log in the folder `path`.

    ``queries.parquet`` has ``query_id``, ``prompt`` or ``messages`` (a JSON string or a list of structs, as OpenAI's
    API takes them), optionally ``system`` and ``encoded_text`` (the text to encode where it is not the prompt); its
    further columns become labels, as text, an empty one where a value is missing. Nested and binary columns, and
    pandas' index, do not. ``outcomes.parquet`` has one row per query and LLM that was asked: ``query_id``, ``model``,
    ``quality`` in [0, 1], ``cost_usd``, and optionally ``tokens_in``, ``tokens_out``, ``latency_s``, ``ttft_s`` and
    ``answer``.

    An export of a store also has ``encoding``, ``encoder`` and ``created_at_s`` of each query (no labels then) and
    ``propensity`` of each outcome, and its ``quality`` may be missing.

    Parameters
    ----------
    path
        The folder; its name becomes the log's.
    llms
        Names of the LLMs to keep, in this order; None keeps all, in the order of their first rows.
    broken
        ``"refuse"`` raises at the first problem. ``"drop"`` leaves broken rows out, and queries that have no outcome
        without them; `RoutingLog.left_out` and a line of the log ``mixllm.logs`` say how many. Of rows that come twice
        the first stays.

    Raises
    ------
    LogError
        Where a file or a column is missing, an id or a pair of query and LLM comes twice, a value is out of range or
        missing, an outcome belongs to no query, or a query or an LLM has no outcome. Rows are counted from 0. With
        ``broken="drop"`` only where a file or a column cannot be used, or nothing is left.
    InvalidValueError
        Where `broken` is neither.
    MissingExtraError
        Where pyarrow is not installed.
    """
    findings = Findings(mode_of(broken))
    log = read_folder(Path(path), llms=llms, findings=findings)
    assert log is not None
    say_left_out(log)
    return log


def read_folder(folder: Path, *, llms: Sequence[str] | None, findings: Findings) -> RoutingLog | None:
    """Read a folder as `read_log` does; None where problems are only listed and nothing can be read."""
    if not folder.is_dir():
        raise LogError(f"{folder} is not a folder. Give the path of a folder with {QUERIES_FILE} and {OUTCOMES_FILE}.")
    require_pyarrow()
    from mixllm.logs.outcome_table import read_outcomes
    from mixllm.logs.query_table import read_queries

    queries = read_queries(folder / QUERIES_FILE, findings=findings)
    outcomes = read_outcomes(
        folder / OUTCOMES_FILE,
        query_ids=None if queries is None else queries.query_ids,
        left_out_ids=frozenset() if queries is None else queries.left_out_ids,
        findings=findings,
    )
    if queries is None or outcomes is None or findings.unusable:
        return None
    if not queries.query_ids or not outcomes.llms:
        _nothing_left(folder, findings)
        return None
    log = RoutingLog(
        name=folder.resolve().name,
        query_ids=queries.query_ids,
        prompts=queries.prompts,
        systems=queries.systems,
        labels=queries.labels,
        llms=outcomes.llms,
        answers=outcomes.answers,
        questions=queries.questions,
        encodings=queries.encodings,
        encoder=queries.encoder,
        propensities=outcomes.propensities,
        left_out=queries.left_out + outcomes.left_out,
        **outcomes.arrays,
    )
    if llms is not None:
        log = _selected(log, llms, folder / OUTCOMES_FILE)
    return _asked_only(log, queries.rows, folder, findings)


def write_log(log: RoutingLog, path: str | os.PathLike[str]) -> None:
    """Write `log` into the folder `path`, which is made where it is missing; `read_log` gives the same log back.

    Raises
    ------
    LogError
        Where a label is named as one of the log's own columns.
    MissingExtraError
        Where pyarrow is not installed.
    """
    require_pyarrow()
    from mixllm.logs.writing import outcome_columns, query_columns, write_table

    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(query_columns(log), folder / QUERIES_FILE)
    write_table(outcome_columns(log), folder / OUTCOMES_FILE)


def say_left_out(log: RoutingLog) -> None:
    """Say in one line how much of a log was left out, if anything was."""
    if log.left_out:
        _logger.warning("Routing log %s: %d broken rows were left out.", log.name, log.left_out)


def require_pyarrow() -> None:
    """Raise `MissingExtraError` where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise MissingExtraError("Reading and writing routing logs", "logs") from error


def _selected(log: RoutingLog, llms: Sequence[str], file: Path) -> RoutingLog:
    for llm in llms:
        if llm not in log.llms:
            raise LogError(
                f"{file}, column model: no row of LLM {llm!r}.{did_you_mean(llm, log.llms)} "
                f"It has: {', '.join(log.llms)}."
            )
    return log.select_llms(llms)


def _asked_only(log: RoutingLog, rows: tuple[int, ...], folder: Path, findings: Findings) -> RoutingLog | None:
    """Return the log of the queries that were asked; `rows` are the queries' rows in their file."""
    unasked: NDArray[np.intp] = np.flatnonzero(~log.asked.any(axis=1))
    if not unasked.size:
        return log
    if findings.mode is Mode.REFUSE:
        first = int(unasked[0])
        raise LogError(
            f"{folder / OUTCOMES_FILE}, column query_id: {unasked.size} queries have no outcome, the first is "
            f"{log.query_ids[first]!r} (row {rows[first]} of {QUERIES_FILE}). Add their outcomes, or remove the "
            "queries."
        )
    ids = {rows[query]: log.query_ids[query] for query in unasked.tolist()}
    findings.rows(
        file=folder / QUERIES_FILE,
        column="query_id",
        rows=list(ids),
        message=lambda _row: "the query has no outcome that can be used. Add one, or remove the query.",
        query_id=ids.get,
    )
    if unasked.size == len(log):
        _nothing_left(folder, findings)
        return None
    return replace(log.select(np.flatnonzero(log.asked.any(axis=1))), left_out=log.left_out + unasked.size)


def _nothing_left(folder: Path, findings: Findings) -> None:
    findings.unusable = True
    if findings.mode is not Mode.LIST:
        raise LogError(f"{folder}: nothing is left without the broken rows. See what is wrong: mixllm data check")
