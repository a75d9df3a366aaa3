"""``outcomes.parquet``: one row per query and LLM, spread into arrays of shape (n, K)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mixllm.logs.columns import TableFile

__all__ = ["OutcomeTable", "read_outcomes"]

_REQUIRED = ("quality", "cost_usd")
_OPTIONAL = ("tokens_in", "tokens_out", "latency_s", "ttft_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeTable:
    """The outcomes of a log: LLMs, arrays of shape (n, K) by name, and answers if there are any."""

    llms: tuple[str, ...]
    arrays: dict[str, NDArray[np.float64]]
    answers: tuple[tuple[str | None, ...], ...] | None


def read_outcomes(file: Path, *, query_ids: tuple[str, ...]) -> OutcomeTable:
    """Read and check ``outcomes.parquet``; raises `LogError`.

    Parameters
    ----------
    file
        Its path.
    query_ids
        Ids of the n queries; they give the rows of the arrays.
    """
    table = TableFile(file)
    rows = _query_rows(table, query_ids)
    columns, llms = _llm_columns(table)
    if not llms:
        raise table.error("model", "there is no outcome. Add some.")
    flat = rows * len(llms) + columns
    _check_pairs_unique(table, flat, query_ids, llms)
    shape = (len(query_ids), len(llms))
    arrays = {name: np.full(shape, np.nan) for name in (*_REQUIRED, *_OPTIONAL)}
    for name, array in arrays.items():
        if name in _REQUIRED or name in table:
            array.reshape(-1)[flat] = _checked_numbers(table, name)
    return OutcomeTable(llms=llms, arrays=arrays, answers=_answers(table, flat, shape))


def _query_rows(table: TableFile, query_ids: tuple[str, ...]) -> NDArray[np.int64]:
    ids = table.complete_text("query_id")
    positions = pc.index_in(ids, value_set=pa.array(query_ids, type=ids.type))
    if positions.null_count:
        row = int(np.flatnonzero(positions.is_null().to_numpy(zero_copy_only=False))[0])
        raise table.error(
            "query_id",
            f"query {ids[row].as_py()!r} is not in queries.parquet. Add it there, or remove its outcomes.",
            row=row,
        )
    rows: NDArray[np.int64] = positions.to_numpy(zero_copy_only=False).astype(np.int64)
    return rows


def _llm_columns(table: TableFile) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    models = table.complete_text("model")
    encoded = models.dictionary_encode()
    llms = tuple(encoded.dictionary.to_pylist())
    columns: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if "" in llms:
        row = int(np.flatnonzero(columns == llms.index(""))[0])
        raise table.error("model", "the name is empty. Name the LLM.", row=row)
    return columns, llms


def _check_pairs_unique(
    table: TableFile, flat: NDArray[np.int64], query_ids: tuple[str, ...], llms: tuple[str, ...]
) -> None:
    order = np.argsort(flat, kind="stable")
    repeats = np.flatnonzero(np.diff(flat[order]) == 0)
    if not repeats.size:
        return
    # Of all second rows the earliest in the file; the sort is stable, so the row before it in `order` is its twin.
    at = repeats[np.argmin(order[repeats + 1])]
    first, second = int(order[at]), int(order[at + 1])
    query, llm = divmod(int(flat[second]), len(llms))
    raise table.error(
        "query_id and model",
        f"query {query_ids[query]!r} and LLM {llms[llm]!r} are already in row {first}. Keep one of them.",
        row=second,
    )


def _checked_numbers(table: TableFile, name: str) -> NDArray[np.float64]:
    numbers = table.numbers(name)
    if name == "quality":
        bad, expected = ~((numbers >= 0) & (numbers <= 1)), "a number between 0 and 1"
    elif name in _REQUIRED:
        bad, expected = ~(np.isfinite(numbers) & (numbers >= 0)), "a finite number >= 0"
    else:
        bad, expected = np.isinf(numbers) | (numbers < 0), "a finite number >= 0, or missing"
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        value = "missing or NaN" if np.isnan(numbers[row]) else f"{numbers[row]:g}"
        raise table.error(name, f"it is {value}, but must be {expected}. Correct it, or remove the row.", row=row)
    return numbers


def _answers(
    table: TableFile, flat: NDArray[np.int64], shape: tuple[int, int]
) -> tuple[tuple[str | None, ...], ...] | None:
    if "answer" not in table:
        return None
    answers = np.full(shape[0] * shape[1], None, dtype=object)
    answers[flat] = table.text("answer").to_numpy(zero_copy_only=False)
    return tuple(tuple(row) for row in answers.reshape(shape).tolist())
