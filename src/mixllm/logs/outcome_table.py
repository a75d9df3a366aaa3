"""``outcomes.parquet``: one row per query and LLM, spread into arrays of shape (n, K)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixllm.logs.columns import TableFile
from mixllm.logs.findings import Findings, Mode, TableError

__all__ = ["PROPENSITY", "OutcomeTable", "number_fault", "read_outcomes"]

PROPENSITY = "propensity"
_REQUIRED = ("quality", "cost_usd")
_OPTIONAL = ("tokens_in", "tokens_out", "latency_s", "ttft_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeTable:
    """The outcomes of a log, without the broken rows: LLMs, arrays of shape (n, K) by name, answers if there are any.

    `left_out` is the number of broken rows, and of rows of queries that are broken.
    """

    llms: tuple[str, ...]
    arrays: dict[str, NDArray[np.float64]]
    propensities: NDArray[np.float64] | None
    answers: tuple[tuple[str | None, ...], ...] | None
    left_out: int


class _Rows:
    """The rows of the file that are still good, and how to name them in problems."""

    def __init__(self, table: TableFile, findings: Findings) -> None:
        self.table, self.findings = table, findings
        self.keep = np.ones(table.rows, dtype=np.bool_)
        self.ids: list[str | None] = [None] * table.rows

    def drop(self, column: str, broken: NDArray[np.bool_], message: Any) -> None:
        """Report the broken rows and leave them out."""
        self.findings.rows(
            file=self.table.file,
            column=column,
            rows=np.flatnonzero(broken),
            message=message,
            query_id=lambda row: self.ids[row],
        )
        self.keep &= ~broken


def read_outcomes(
    file: Path, *, query_ids: tuple[str, ...] | None, left_out_ids: frozenset[str], findings: Findings
) -> OutcomeTable | None:
    """Read and check ``outcomes.parquet``; None where problems are only listed and it cannot be used.

    Parameters
    ----------
    file
        Its path.
    query_ids
        Ids of the n queries; they give the rows of the arrays. None where they could not be read.
    left_out_ids
        Ids of broken queries, whose outcomes are left out.
    findings
        Where problems go.
    """
    try:
        table = TableFile(file)
    except TableError as error:
        findings.note(error)
        if findings.mode is not Mode.LIST:
            raise
        return None
    rows = _Rows(table, findings)
    positions = np.zeros(table.rows, dtype=np.int64)
    columns = np.zeros(table.rows, dtype=np.int64)
    llms: tuple[str, ...] = ("",)
    with findings.whole_column():
        positions = _query_positions(rows, query_ids, left_out_ids)
    with findings.whole_column():
        columns, llms = _llm_columns(rows)
        if not table.rows:
            raise table.error("model", "there is no outcome. Add some.")
    if not findings.unusable and query_ids is not None:
        _drop_repeats(rows, positions * len(llms) + columns, query_ids, llms)
    numbers: dict[str, NDArray[np.float64]] = {}
    for name in (*_REQUIRED, *_OPTIONAL, PROPENSITY):
        if name in _REQUIRED or name in table:
            with findings.whole_column():
                numbers[name] = _checked_numbers(rows, name)
    texts: NDArray[Any] | None = None
    with findings.whole_column():
        texts = table.text("answer").to_numpy(zero_copy_only=False) if "answer" in table else None
    if findings.unusable or query_ids is None:
        return None
    return _spread(rows, positions, columns, llms, numbers, texts, len(query_ids))


def _spread(
    rows: _Rows,
    positions: NDArray[np.int64],
    columns: NDArray[np.int64],
    llms: tuple[str, ...],
    numbers: dict[str, NDArray[np.float64]],
    texts: NDArray[Any] | None,
    queries: int,
) -> OutcomeTable:
    """Put the good rows into arrays; LLMs that have none are left out."""
    keep = rows.keep
    used = np.bincount(columns[keep], minlength=len(llms)) > 0
    for llm in (name for name, has_rows in zip(llms, used.tolist(), strict=True) if name and not has_rows):
        rows.findings.note(rows.table.error("model", f"no row of LLM {llm!r} is usable. Correct them, or remove it."))
    llms = tuple(name for name, has_rows in zip(llms, used.tolist(), strict=True) if has_rows)
    shape = (queries, len(llms))
    flat = positions[keep] * len(llms) + (np.cumsum(used) - 1)[columns[keep]]

    def spread(name: str) -> NDArray[np.float64]:
        array = np.full(shape, np.nan)
        if name in numbers:
            array.reshape(-1)[flat] = numbers[name][keep]
        return array

    answers: tuple[tuple[str | None, ...], ...] | None = None
    if texts is not None:
        grid = np.full(shape[0] * shape[1], None, dtype=object)
        grid[flat] = texts[keep]
        answers = tuple(tuple(row) for row in grid.reshape(shape).tolist())
    return OutcomeTable(
        llms=llms,
        arrays={name: spread(name) for name in (*_REQUIRED, *_OPTIONAL)},
        propensities=spread(PROPENSITY) if PROPENSITY in numbers else None,
        answers=answers,
        left_out=int((~keep).sum()),
    )


def _query_positions(rows: _Rows, query_ids: tuple[str, ...] | None, left_out_ids: frozenset[str]) -> NDArray[np.int64]:
    ids = rows.table.text("query_id")
    rows.ids = ids.to_pylist()
    missing = ids.is_null().to_numpy(zero_copy_only=False)
    rows.drop("query_id", missing, lambda _row: "the value is missing. Give each row one, or remove the row.")
    if query_ids is None:
        return np.zeros(len(ids), dtype=np.int64)
    found = pc.index_in(ids, value_set=pa.array(query_ids, type=ids.type))
    unknown = found.is_null().to_numpy(zero_copy_only=False) & ~missing
    follows = np.array([query_id in left_out_ids for query_id in rows.ids], dtype=np.bool_)
    rows.drop(
        "query_id",
        unknown & ~follows,
        lambda row: f"query {rows.ids[row]!r} is not in queries.parquet. Add it there, or remove its outcomes.",
    )
    rows.keep &= ~(unknown & follows)
    positions: NDArray[np.int64] = found.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return positions


def _llm_columns(rows: _Rows) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    models = rows.table.text("model")
    missing = models.is_null().to_numpy(zero_copy_only=False)
    rows.drop("model", missing, lambda _row: "the value is missing. Give each row one, or remove the row.")
    encoded = models.fill_null("").dictionary_encode()
    llms = tuple(encoded.dictionary.to_pylist())
    columns: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if "" in llms:
        empty = (columns == llms.index("")) & ~missing
        rows.drop("model", empty, lambda _row: "the name is empty. Name the LLM.")
    return columns, llms


def _drop_repeats(rows: _Rows, flat: NDArray[np.int64], query_ids: tuple[str, ...], llms: tuple[str, ...]) -> None:
    """Report each row whose query and LLM are in an earlier row; the earliest stays."""
    kept = np.flatnonzero(rows.keep)
    _, first, inverse = np.unique(flat[kept], return_index=True, return_inverse=True)
    twin = kept[first[inverse]]  # np.unique gives the first of equals.
    repeated = np.zeros(len(rows.keep), dtype=np.bool_)
    repeated[kept] = twin != kept
    twin_of = dict(zip(kept[twin != kept].tolist(), twin[twin != kept].tolist(), strict=True))

    def message(row: int) -> str:
        query, llm = divmod(int(flat[row]), len(llms))
        return f"query {query_ids[query]!r} and LLM {llms[llm]!r} are already in row {twin_of[row]}. Keep one of them."

    rows.drop("query_id and model", repeated, message)


def number_fault(name: str, numbers: NDArray[np.float64], *, may_miss: bool) -> tuple[NDArray[np.bool_], str]:
    """Return which numbers of a column are out of range, and what they must be.

    Parameters
    ----------
    name
        The column: ``quality`` and ``propensity`` are in [0, 1], the others are at least 0.
    numbers
        Its values, NaN where one is missing.
    may_miss
        Whether values may be missing.
    """
    if name == "quality":
        bad, expected = ~((numbers >= 0) & (numbers <= 1)), "a number between 0 and 1"
    elif name == PROPENSITY:
        bad, expected = ~((numbers > 0) & (numbers <= 1)), "above 0 and at most 1"
    else:
        bad, expected = ~(np.isfinite(numbers) & (numbers >= 0)), "a finite number >= 0"
    return (bad & ~np.isnan(numbers), f"{expected}, or missing") if may_miss else (bad, expected)


def _checked_numbers(rows: _Rows, name: str) -> NDArray[np.float64]:
    numbers = rows.table.numbers(name)
    # In an export of a store a quality is missing where nobody judged.
    may_miss = name not in _REQUIRED or (name == "quality" and PROPENSITY in rows.table)
    bad, expected = number_fault(name, numbers, may_miss=may_miss)

    def message(row: int) -> str:
        value = "missing or NaN" if np.isnan(numbers[row]) else f"{numbers[row]:g}"
        return f"it is {value}, but must be {expected}. Correct it, or remove the row."

    rows.drop(name, bad, message)
    return numbers
