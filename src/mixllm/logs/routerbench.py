"""RouterBench's wide table: one row per query, a few columns per LLM; as parquet, and as the published pickle."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, LogError, did_you_mean
from mixllm.logs.benchmark_prompts import last_block, prompt_texts
from mixllm.logs.findings import Broken, Findings, Mode, TableError, mode_of
from mixllm.logs.parquet import require_pyarrow, say_left_out
from mixllm.logs.routing_log import RoutingLog

__all__ = ["PICKLE_SUFFIXES", "Question", "is_wide", "read_routerbench", "read_wide"]

PICKLE_SUFFIXES = frozenset({".pkl", ".pickle"})
_COST, _ANSWER = "|total_cost", "|model_response"
_ID, _PROMPT, _LABEL = "sample_id", "prompt", "eval_name"

Question: TypeAlias = Literal["last_block", "whole"]
"""What of a prompt is encoded: what follows its last blank line, or all of it."""


class _Table(Protocol):
    """What is needed of a table, whatever file it is in."""

    file: Path
    rows: int

    def __contains__(self, column: str) -> bool: ...

    @property
    def names(self) -> list[str]: ...

    def error(self, column: str, problem: str, *, row: int | None = None) -> TableError: ...

    def values(self, name: str) -> list[Any]: ...

    def numbers(self, name: str) -> NDArray[np.float64]: ...


def read_routerbench(
    path: str | os.PathLike[str],
    *,
    llms: Sequence[str] | None = None,
    question: Question = "last_block",
    broken: Broken = "refuse",
) -> RoutingLog:
    """Read RouterBench's table: ``routerbench_0shot.pkl``, ``routerbench_5shot.pkl``, or the same as parquet.

    It has ``sample_id``, ``prompt``, optionally ``eval_name`` (the label of the log), and for each LLM a column of its
    name (quality), ``<LLM>|total_cost`` (USD) and optionally ``<LLM>|model_response``. Where quality and cost are both
    missing, the LLM was not asked. Tokens and latency are not recorded. A pickle is read without executing anything in
    it and without pandas; one that refers to anything but the parts of a table of numbers and texts is refused.

    Parameters
    ----------
    path
        The file; its name without suffix becomes the log's.
    llms
        Names of the LLMs to keep, in this order; None keeps all, in the order of their columns.
    question
        What is encoded. ``"last_block"`` is what follows the last blank line of the prompt: after a few examples, the
        question. ``"whole"`` is the prompt. `RoutingLog.prompts` has the whole prompt in both cases.
    broken
        As `mixllm.logs.read_log` does; a value that is out of range leaves out that LLM's outcome, not the query.

    Raises
    ------
    LogError
        Where the file cannot be read or a column is missing, an id comes twice, a value is out of range, only one of
        quality and cost is known, a query has no outcome, or an LLM none. Rows are counted from 0.
    InvalidValueError
        Where `question` or `broken` is none of the values above.
    MissingExtraError
        Where the file is parquet and pyarrow is not installed.
    """
    if question not in ("last_block", "whole"):
        raise InvalidValueError("question", question, "'last_block' or 'whole'")
    log = read_wide(Path(path), llms=llms, question=question, findings=Findings(mode_of(broken)))
    assert log is not None
    say_left_out(log)
    return log


def is_wide(file: Path) -> bool:
    """Whether `file` looks like RouterBench's table: by its suffix where it is a pickle, by its columns otherwise."""
    if file.suffix in PICKLE_SUFFIXES:
        return True
    if file.suffix != ".parquet":
        return False
    try:
        names = _open(file).names
    except TableError:
        return False
    return _ID in names and any(name.endswith(_COST) for name in names)


def read_wide(file: Path, *, llms: Sequence[str] | None, question: Question, findings: Findings) -> RoutingLog | None:
    """Read a table as `read_routerbench` does; None where problems are only listed and nothing can be read."""
    table = _open(file)
    names = _llm_names(table, llms, findings)
    rows = _query_rows(table, findings)
    columns = []
    for name in names:
        with findings.whole_column():
            columns.append(_llm_column(table, name, rows, findings))
    if findings.unusable or rows is None:
        return None
    columns = [column for column in columns if column.known.any()]
    if not columns:
        _nothing_left(table, findings)
        return None
    unasked = ~np.stack([column.known for column in columns], axis=1).any(axis=1)
    findings.rows(
        file=file,
        column=_ID,
        rows=np.flatnonzero(unasked & rows.keep),
        message=lambda _row: "no LLM has an outcome of this query that can be used. Add one, or remove the row.",
        query_id=lambda row: rows.ids[row],
    )
    rows.keep &= ~unasked
    if not rows.keep.any():
        _nothing_left(table, findings)
        return None
    return _log(table, rows, columns, question, left_out=sum(column.left_out for column in columns))


@dataclass(slots=True, kw_only=True)
class _Queries:
    """The queries of the table, and which rows are good."""

    ids: list[str | None]
    prompts: list[str | None]
    keep: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class _LLMColumn:
    """What one LLM did, shape (rows,); NaN where `known` is false."""

    name: str
    quality: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    known: NDArray[np.bool_]
    left_out: int
    answers: list[str | None] | None


def _open(file: Path) -> _Table:
    if file.suffix in PICKLE_SUFFIXES:
        from mixllm.logs.pickled_frame import PickledTable

        return PickledTable(file)
    require_pyarrow()
    from mixllm.logs.columns import TableFile

    return TableFile(file)


def _llm_names(table: _Table, llms: Sequence[str] | None, findings: Findings) -> list[str]:
    """Return the LLMs that are there, those of `llms` where it is given."""
    costs = {name.removesuffix(_COST) for name in table.names if name.endswith(_COST)}
    # In the order of the quality columns; a cost without a quality is told when it is read.
    there = [name for name in table.names if name in costs]
    there += sorted(costs - set(there))
    if not there:
        with findings.whole_column():
            raise table.error(_COST, "no column ends so, so there is no LLM. Give RouterBench's own table.")
    if llms is None:
        return there
    for llm in llms:
        if llm not in there:
            raise LogError(
                f"{table.file}: no column of LLM {llm!r}.{did_you_mean(llm, there)} It has: {', '.join(there)}."
            )
    if len(set(llms)) != len(llms) or not llms:
        raise InvalidValueError("llms", list(llms), "one name or more, each once")
    return list(llms)


def _query_rows(table: _Table, findings: Findings) -> _Queries | None:
    ids: list[str | None] | None = None
    prompts: list[str | None] = [None] * table.rows
    with findings.whole_column():
        ids = [_short_text(value) for value in table.values(_ID)]
        if not ids:
            raise table.error(_ID, "there is no query. Add some.")
    with findings.whole_column():
        prompts = prompt_texts(table.values(_PROMPT))
    if findings.unusable or ids is None:
        return None
    rows = _Queries(ids=ids, prompts=prompts, keep=np.ones(len(ids), dtype=np.bool_))
    first: dict[str, int] = {}
    twins = [row for row, query_id in enumerate(ids) if query_id is not None and first.setdefault(query_id, row) != row]
    problems = (
        (
            _ID,
            [row for row, query_id in enumerate(ids) if query_id is None],
            "the value is missing. Give each row one.",
        ),
        (_ID, twins, "the id is already in an earlier row. Give each query an id of its own."),
        (_PROMPT, [row for row, text in enumerate(prompts) if text is None], "it is missing, or no prompt. Give one."),
    )
    for column, broken, message in problems:
        findings.rows(
            file=table.file, column=column, rows=broken, message=_always(message), query_id=lambda row: rows.ids[row]
        )
        rows.keep[broken] = False
    return rows


def _llm_column(table: _Table, name: str, rows: _Queries | None, findings: Findings) -> _LLMColumn:
    quality, cost_usd = table.numbers(name), table.numbers(name + _COST)
    if np.isnan(quality).all() and np.isnan(cost_usd).all():
        findings.note(
            table.error(name, "no row has a value: the LLM was never asked. Remove its columns, or name those to keep.")
        )
    gap_quality, gap_cost = np.isnan(quality), np.isnan(cost_usd)
    checks = (
        (name, gap_quality & ~gap_cost, "it is missing, but the cost is known. Give both or none."),
        (name + _COST, gap_cost & ~gap_quality, "it is missing, but the quality is known. Give both or none."),
        (name, (quality < 0) | (quality > 1), "it must be a number between 0 and 1. Correct it, or remove it."),
        (name + _COST, (cost_usd < 0) | np.isinf(cost_usd), "it must be a finite number >= 0. Correct or remove it."),
    )
    known = ~gap_quality & ~gap_cost
    broken = np.zeros(len(known), dtype=np.bool_)
    for column, bad, message in checks:
        findings.rows(
            file=table.file,
            column=column,
            rows=np.flatnonzero(bad),
            message=_always(message),
            query_id=lambda row: None if rows is None else rows.ids[row],
        )
        broken |= bad
    answers = [_answer(value) for value in table.values(name + _ANSWER)] if name + _ANSWER in table else None
    return _LLMColumn(
        name=name,
        quality=quality,
        cost_usd=cost_usd,
        known=known & ~broken,
        left_out=int(broken.sum()),
        answers=answers,
    )


def _always(message: str) -> Callable[[int], str]:
    return lambda _row: message


def _answer(value: Any) -> str | None:
    if isinstance(value, list):
        return "\n".join(value) if all(isinstance(part, str) for part in value) else None
    return _short_text(value)


def _short_text(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int, float)) else None


def _log(table: _Table, rows: _Queries, columns: list[_LLMColumn], question: Question, *, left_out: int) -> RoutingLog:
    kept = np.flatnonzero(rows.keep)
    picked = kept.tolist()
    prompts = tuple(rows.prompts[row] or "" for row in picked)
    labels = table.values(_LABEL) if _LABEL in table else None
    nothing = np.full((len(picked), len(columns)), np.nan)

    def spread(name: str) -> NDArray[np.float64]:
        return np.stack([np.where(c.known, getattr(c, name), np.nan)[kept] for c in columns], axis=1)

    answers = None
    if any(column.answers is not None for column in columns):
        answers = tuple(
            tuple(column.answers[row] if column.answers and column.known[row] else None for column in columns)
            for row in picked
        )
    return RoutingLog(
        name=table.file.stem,
        query_ids=tuple(rows.ids[row] or "" for row in picked),
        prompts=prompts,
        systems=(None,) * len(picked),
        labels={} if labels is None else {_LABEL: tuple(_answer(labels[row]) or "" for row in picked)},
        llms=tuple(column.name for column in columns),
        quality=spread("quality"),
        cost_usd=spread("cost_usd"),
        tokens_in=nothing,
        tokens_out=nothing,
        latency_s=nothing,
        ttft_s=nothing,
        answers=answers,
        questions=tuple(last_block(prompt) for prompt in prompts) if question == "last_block" else None,
        left_out=int((~rows.keep).sum()) + left_out,
    )


def _nothing_left(table: _Table, findings: Findings) -> None:
    findings.unusable = True
    if findings.mode is not Mode.LIST:
        raise LogError(f"{table.file}: nothing is left without the broken rows. See what is wrong: mixllm data check")
