"""One door to every kind of routing log, and the check of all that may be wrong with one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mixllm.errors import LogError
from mixllm.logs.findings import Broken, Findings, LogProblem, LogReport, Mode, TableError
from mixllm.logs.parquet import OUTCOMES_FILE, QUERIES_FILE, read_folder, read_log
from mixllm.logs.routerbench import PICKLE_SUFFIXES, is_wide, read_routerbench, read_wide
from mixllm.logs.routing_log import RoutingLog

__all__ = ["check_log", "open_log"]

_SQLITE = b"SQLite format 3\0"
_KINDS = (
    f"A log is a folder with {QUERIES_FILE} and {OUTCOMES_FILE} (an export of a store is one too), RouterBench's table "
    "(.parquet, .pkl), or a folder with one such table."
)


def open_log(
    path: str | os.PathLike[str], *, llms: Sequence[str] | None = None, broken: Broken = "refuse"
) -> RoutingLog:
    """Read a routing log of any kind.

    Parameters
    ----------
    path
        A folder with ``queries.parquet`` and ``outcomes.parquet`` (a log, or an export of a store), RouterBench's table
        as parquet or pickle, or a folder with exactly one such table.
    llms, broken
        As `mixllm.logs.read_log` and `mixllm.logs.read_routerbench` take them.

    Raises
    ------
    LogError
        Where it is none of them, or is broken.
    MissingExtraError
        Where pyarrow is needed and not installed.

    Notes
    -----
    The log is called as the folder that was given, or as the file without its ending.
    """
    given = Path(path)
    place = _kind(given)
    if place.is_dir():
        return read_log(place, llms=llms, broken=broken)
    log = read_routerbench(place, llms=llms, broken=broken)
    return replace(log, name=given.resolve().name) if given.is_dir() else log


def check_log(path: str | os.PathLike[str]) -> LogReport:
    """Return everything that is wrong with a log of any kind; the first 1,000 problems are listed, all are counted.

    Parameters
    ----------
    path
        As `open_log` takes it.

    Raises
    ------
    LogError
        Where there is no log at `path`, of whatever kind.
    MissingExtraError
        Where pyarrow is needed and not installed.
    """
    place = _kind(Path(path))
    findings = Findings(Mode.LIST)
    log: RoutingLog | None = None
    try:
        if place.is_dir():
            log = read_folder(place, llms=None, findings=findings)
        else:
            log = read_wide(place, llms=None, question="whole", findings=findings)
    except TableError as fault:
        findings.note(fault)
    except LogError as error:
        findings.problems.append(LogProblem(file=place.name, column=None, row=None, query_id=None, message=str(error)))
        findings.count += 1
    return LogReport(
        path=str(path),
        problems=tuple(findings.problems),
        count=findings.count,
        usable=log is not None,
        queries=0 if log is None else len(log),
        llms=0 if log is None else len(log.llms),
        outcomes=0 if log is None else int(log.asked.sum()),
        left_out=0 if log is None else log.left_out,
    )


def _kind(path: Path) -> Path:
    """Return the folder of a log or the file of a table that is meant; raises `LogError`."""
    if path.is_dir():
        if (path / QUERIES_FILE).exists() or (path / OUTCOMES_FILE).exists():
            return path
        tables = sorted(file for file in path.iterdir() if file.is_file() and is_wide(file))
        if len(tables) == 1:
            return tables[0]
        if tables:
            names = ", ".join(file.name for file in tables)
            raise LogError(f"{path} holds several tables: {names}. Give the path of one.")
        raise LogError(f"{path} holds no routing log. {_KINDS}")
    if not path.is_file():
        raise LogError(f"{path} does not exist. {_KINDS}")
    if path.suffix in PICKLE_SUFFIXES or is_wide(path):
        return path
    if path.name in (QUERIES_FILE, OUTCOMES_FILE):
        raise LogError(f"{path} is half of a routing log. Give its folder: {path.parent}")
    if _begins_with(path, _SQLITE):
        raise LogError(
            f"{path} is a store. Export it first: mixllm data export --store {path} --out FOLDER; then give the folder."
        )
    raise LogError(f"{path} is no routing log. {_KINDS}")


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise LogError(f"{path} cannot be read ({error.strerror}). Check the path.") from error
