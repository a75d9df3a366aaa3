"""What a store holds after a run, and what routers that follow it have learned."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COUNTS = """
SELECT (SELECT count(*) FROM decisions), (SELECT count(*) FROM events WHERE kind = 'outcome'),
    (SELECT count(*) FROM events WHERE kind = 'feedback'), (SELECT coalesce(max(seq), 0) FROM events)
"""
_ORPHANS = """
SELECT decision_id FROM decisions
WHERE decision_id NOT IN (SELECT decision_id FROM events WHERE kind = 'outcome')
"""
_FEEDBACK = "SELECT event_id, decision_id FROM events WHERE kind = 'feedback'"
_DECISIONS = "SELECT decision_id FROM decisions"

Ask = Callable[[str], list[tuple[Any, ...]]]


def rows(ask: Ask) -> dict[str, Any]:
    """Return counts and ids, with `ask` to run a query."""
    ((decisions, outcomes, feedback, last_seq),) = ask(_COUNTS)
    return {
        "decisions": decisions,
        "outcomes": outcomes,
        "feedback": feedback,
        "last_seq": last_seq,
        "decision_ids": {row[0] for row in ask(_DECISIONS)},
        "without_outcome": [row[0] for row in ask(_ORPHANS)],
        "feedback_ids": Counter(row[0] for row in ask(_FEEDBACK)),
    }


def sqlite_rows(path: Path) -> dict[str, Any]:
    """Return what a SQLite store holds."""
    with closing(sqlite3.connect(path)) as file:
        return rows(lambda query: file.execute(query).fetchall())


def postgres_rows(url: str, schema: str) -> dict[str, Any]:
    """Return what a schema of a PostgreSQL database holds."""
    import psycopg

    with psycopg.connect(url, options=f"-c search_path={schema}") as database:
        return rows(lambda query: database.execute(query.encode()).fetchall())


def forget_states(place: Path | str, schema: str = "") -> None:
    """Remove every checkpoint: whoever opens the store then learns all of it from the beginning."""
    if isinstance(place, Path):
        with closing(sqlite3.connect(place)) as file, file:
            file.execute("DELETE FROM states")
        return
    import psycopg

    with psycopg.connect(place, options=f"-c search_path={schema}") as database:
        database.execute("DELETE FROM states")


def largest_difference(states: Iterable[Mapping[str, NDArray[np.float64]]]) -> float:
    """Return the largest difference between arrays of the same name, relative to the larger of the value and 1."""
    first, *others = states
    worst = 0.0
    for other in others:
        assert first.keys() == other.keys(), sorted(first.keys() ^ other.keys())
        for name, array in first.items():
            found = other[name]
            assert array.shape == found.shape, name
            if array.size:
                differences = np.abs(array - found) / np.maximum(1.0, np.abs(array))
                worst = max(worst, float(np.nanmax(differences, initial=0.0)))
    return worst
