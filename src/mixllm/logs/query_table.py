"""``queries.parquet``: ids, prompts, system prompts, labels, and what an export of a store adds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixllm.logs.chats import prompt_and_system
from mixllm.logs.columns import TableFile, is_float_list, is_scalar
from mixllm.logs.findings import Findings

__all__ = ["ENCODED_TEXT", "ENCODER", "ENCODING", "EXPORT_COLUMNS", "OWN_COLUMNS", "QueryTable", "read_queries"]

ENCODED_TEXT, ENCODING, ENCODER = "encoded_text", "encoding", "encoder"
OWN_COLUMNS = frozenset({"query_id", "prompt", "messages", "system", ENCODED_TEXT})
"""Columns that are no labels."""
EXPORT_COLUMNS = frozenset({ENCODING, ENCODER, "created_at_s"})
"""Columns that are no labels where there are encodings."""
_PANDAS_INDEX = "__index_level_"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTable:
    """The queries of a log, column by column, without the broken rows.

    Parameters
    ----------
    rows
        Where in the file each query is.
    left_out
        How many rows were broken.
    left_out_ids
        Their ids; outcomes of them are left out too, and are no problem of their own.
    """

    query_ids: tuple[str, ...]
    prompts: tuple[str, ...]
    systems: tuple[str | None, ...]
    labels: dict[str, tuple[str, ...]]
    questions: tuple[str, ...] | None
    encodings: NDArray[np.float32] | None
    encoder: str | None
    rows: tuple[int, ...]
    left_out: int
    left_out_ids: frozenset[str]


def read_queries(file: Path, *, findings: Findings) -> QueryTable | None:
    """Read and check ``queries.parquet``; None where its ids cannot be read and problems are only listed."""
    ids: list[str | None] | None = None
    with findings.whole_column():
        table = TableFile(file)
        ids = table.text("query_id").to_pylist()
        if not ids:
            raise table.error("query_id", "there is no query. Add some.")
    if ids is None:
        return None
    keep = np.ones(len(ids), dtype=np.bool_)
    _check_ids(table, ids, keep, findings)
    prompts: list[str | None] = [""] * len(ids)
    systems: list[str | None] = [None] * len(ids)
    with findings.whole_column():
        prompts, systems = _prompts_and_systems(table, ids, keep, findings)
    encodings, encoder = None, None
    with findings.whole_column():
        encodings, encoder = _encodings(table, ids, keep, findings)
    kept = np.flatnonzero(keep).tolist()
    labels = {
        name: tuple(values[row] for row in kept)
        for name, values in _labels(table, without=EXPORT_COLUMNS if encodings is not None else frozenset()).items()
    }
    questions = table.text(ENCODED_TEXT).to_pylist() if ENCODED_TEXT in table else None
    return QueryTable(
        query_ids=tuple(ids[row] or "" for row in kept),
        prompts=tuple(prompts[row] or "" for row in kept),
        systems=tuple(systems[row] for row in kept),
        labels=labels,
        questions=None if questions is None else tuple(_first(questions[row], prompts[row]) for row in kept),
        encodings=None if encodings is None else encodings[keep],
        encoder=encoder,
        rows=tuple(kept),
        left_out=len(ids) - len(kept),
        left_out_ids=frozenset(known for row, known in enumerate(ids) if known is not None and not keep[row])
        - {ids[row] for row in kept},
    )


def _first(question: str | None, prompt: str | None) -> str:
    return (prompt or "") if question is None else question


def _labels(table: TableFile, *, without: frozenset[str]) -> dict[str, list[str]]:
    return {
        name: table.text(name).fill_null("").to_pylist()
        for name in table.names
        if name not in OWN_COLUMNS
        and name not in without
        and not name.startswith(_PANDAS_INDEX)
        and is_scalar(table.schema.field(name).type)
    }


def _check_ids(table: TableFile, ids: list[str | None], keep: NDArray[np.bool_], findings: Findings) -> None:
    missing = [row for row, query_id in enumerate(ids) if query_id is None]
    findings.rows(
        file=table.file,
        column="query_id",
        rows=missing,
        message=lambda _row: "the value is missing. Give each row one, or remove the row.",
    )
    first: dict[str, int] = {}
    twins = []
    for row, query_id in enumerate(ids):
        if query_id is not None and first.setdefault(query_id, row) != row:
            twins.append(row)
    findings.rows(
        file=table.file,
        column="query_id",
        rows=twins,
        message=lambda row: (
            f"{ids[row]!r} is already in row {first[ids[row] or '']}. Give each query an id of its own."
        ),
        query_id=lambda row: ids[row],
    )
    keep[missing + twins] = False


def _prompts_and_systems(
    table: TableFile, ids: list[str | None], keep: NDArray[np.bool_], findings: Findings
) -> tuple[list[str | None], list[str | None]]:
    given: list[str | None] = table.text("system").to_pylist() if "system" in table else [None] * table.rows
    if "prompt" in table or "messages" not in table:
        prompts: list[str | None] = table.text("prompt").to_pylist()
        missing = [row for row, prompt in enumerate(prompts) if prompt is None]
        findings.rows(
            file=table.file,
            column="prompt",
            rows=missing,
            message=lambda _row: "the value is missing. Give each row one, or remove the row.",
            query_id=lambda row: ids[row],
        )
        keep[missing] = False
        return prompts, given
    prompts, systems, faults = [], [], {}
    for row, (messages, system) in enumerate(zip(table.values("messages"), given, strict=True)):
        prompt, own_system = None, None
        try:
            if messages is None:
                faults[row] = "the chat is missing. Give each query one."
            else:
                prompt, own_system = prompt_and_system(messages)
        except ValueError as error:
            faults[row] = (
                f"this is no chat ({error}). Write a list of messages with role and content, one of them the user's."
            )
        prompts.append(prompt)
        systems.append(own_system if system is None else system)
    rows = list(faults)
    findings.rows(
        file=table.file, column="messages", rows=rows, message=faults.__getitem__, query_id=lambda row: ids[row]
    )
    keep[rows] = False
    return prompts, systems


def _encodings(
    table: TableFile, ids: list[str | None], keep: NDArray[np.bool_], findings: Findings
) -> tuple[NDArray[np.float32] | None, str | None]:
    """Return the encodings, shape (rows, d), and the fingerprint of what made them; None where there are none."""
    if ENCODING not in table or not is_float_list(table.schema.field(ENCODING).type):
        return None, None
    names = set(table.text(ENCODER).drop_null().to_pylist()) if ENCODER in table else set()
    if len(names) != 1:
        raise table.error(ENCODER, f"it names {len(names)} encoders, but must name one. Write who made the encodings.")
    column = table.column(ENCODING)
    lengths = np.nan_to_num(pc.list_value_length(column).cast(pa.float64()).to_numpy(zero_copy_only=False), nan=-1.0)
    dimension = int(np.median(lengths[lengths >= 0])) if (lengths >= 0).any() else 0
    fits = lengths == dimension
    encodings = np.zeros((len(ids), dimension), dtype=np.float32)
    fitting = column.filter(pa.array(fits)).flatten()
    encodings[fits] = fitting.cast(pa.float32()).to_numpy(zero_copy_only=False).reshape(-1, dimension)
    bad = np.flatnonzero(~fits | ~np.isfinite(encodings).all(axis=1))
    findings.rows(
        file=table.file,
        column=ENCODING,
        rows=bad,
        message=lambda _row: f"it must be {dimension} finite numbers, as in the other rows. Remove the row.",
        query_id=lambda row: ids[row],
    )
    keep[bad] = False
    return encodings, names.pop()
