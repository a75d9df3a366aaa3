"""What is wrong with a log: found, listed, or refused at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, LogError

__all__ = ["MAX_LISTED", "Broken", "Findings", "LogProblem", "LogReport", "Mode", "TableError", "mode_of"]

MAX_LISTED: Final = 1000
"""Most problems that a report lists; all are counted."""

Broken: TypeAlias = Literal["refuse", "drop"]
"""What a reader does with broken rows: raise at the first, or leave them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProblem:
    """One thing that is wrong with a log.

    Parameters
    ----------
    file
        Name of the file.
    column
        The column, or None where the file itself is the problem.
    row
        The row, counted from 0, or None where it is the whole column.
    query_id
        The row's query, where it is known.
    message
        What is wrong and what to do.
    """

    file: str
    column: str | None
    row: int | None
    query_id: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """Everything that is wrong with a log.

    Parameters
    ----------
    path
        The log.
    problems
        What was found, at most `MAX_LISTED`.
    count
        How many were found.
    usable
        Whether ``broken="drop"`` reads it: nothing is wrong but single rows, and something is left without them.
    queries, llms, outcomes
        What is read without the broken rows; 0 where it cannot be read.
    left_out
        Rows of the files (of a wide table: rows and cells) that are left out then.
    """

    path: str
    problems: tuple[LogProblem, ...]
    count: int
    usable: bool
    queries: int = 0
    llms: int = 0
    outcomes: int = 0
    left_out: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.count == 0


class TableError(LogError):
    """A file or a column that cannot be used, or the first broken row.

    Parameters
    ----------
    file
        The file.
    column, row
        Where in it.
    problem
        What is wrong and what to do.
    """

    def __init__(self, *, file: Path, column: str | None, problem: str, row: int | None = None) -> None:
        self.file, self.column, self.row, self.problem = file, column, row, problem
        where = ("" if column is None else f", column {column}") + ("" if row is None else f", row {row}")
        super().__init__(f"{file}{where}: {problem}" if where else f"{file} {problem}")


class Mode(Enum):
    """What becomes of a problem."""

    REFUSE = "refuse"
    """The first one is raised."""
    DROP = "drop"
    """Broken rows are left out; a column or file that cannot be used is raised."""
    LIST = "list"
    """Everything is listed, and broken rows are left out."""


def mode_of(broken: str) -> Mode:
    """Return what a reader was asked to do; raises `InvalidValueError`."""
    if broken not in ("refuse", "drop"):
        raise InvalidValueError("broken", broken, "'refuse' or 'drop'")
    return Mode(broken)


class Findings:
    """Collects problems, or raises the first.

    Parameters
    ----------
    mode
        What becomes of a problem.
    """

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.problems: list[LogProblem] = []
        self.count = 0
        self.left_out = 0
        self.unusable = False

    def rows(
        self,
        *,
        file: Path,
        column: str,
        rows: NDArray[np.integer[Any]] | Sequence[int],
        message: Callable[[int], str],
        query_id: Callable[[int], str | None] = lambda _row: None,
    ) -> None:
        """Note that each of `rows` is broken; raises `TableError` for the first where that is the mode."""
        for row in rows if isinstance(rows, Sequence) else rows.tolist():
            if self.mode is Mode.REFUSE:
                raise TableError(file=file, column=column, row=row, problem=message(row))
            self.count += 1
            if len(self.problems) < MAX_LISTED:
                self._list(file, column, row, query_id(row), message(row))

    def note(self, fault: TableError) -> None:
        """Note a problem that is no single row's; raises it unless problems are left out or listed."""
        if self.mode is Mode.REFUSE:
            raise fault
        self.count += 1
        if len(self.problems) < MAX_LISTED:
            self._list(fault.file, fault.column, fault.row, None, fault.problem)

    @contextmanager
    def whole_column(self) -> Iterator[None]:
        """List what makes a file or column unusable, and go on after the block; raise it in the other modes."""
        try:
            yield
        except TableError as fault:
            if self.mode is not Mode.LIST:
                raise
            self.note(fault)
            self.unusable = True

    def _list(self, file: Path, column: str | None, row: int | None, query_id: str | None, message: str) -> None:
        self.problems.append(LogProblem(file=file.name, column=column, row=row, query_id=query_id, message=message))
