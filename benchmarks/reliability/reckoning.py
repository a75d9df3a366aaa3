"""What a store holds after a run, and what routers that follow it have learned."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reliability.processes import Process
from mixllm.assembly import Router
from mixllm.config import load_config
from mixllm.learning.checkpoint import Checkpoint

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
Arrays = Mapping[str, NDArray[np.float64]]


class Known:
    """A store, read with plain SQL: not by the code that is tried.

    Parameters
    ----------
    path
        The SQLite file; or
    url, schema
        the schema of a PostgreSQL database.
    """

    def __init__(self, *, path: Path | None = None, url: str = "", schema: str = "") -> None:
        self.path = path
        self.url = url
        self.schema = schema

    def rows(self) -> dict[str, Any]:
        """Return counts and ids."""
        with self._asking() as ask:
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

    def newest_state(self) -> bytes:
        """Return the checkpoint that was saved last."""
        order = "seq" if self.path is not None else "number"
        with self._asking() as ask:
            ((payload,),) = ask(f"SELECT payload FROM states ORDER BY {order} DESC LIMIT 1")
            return bytes(payload)

    def forget_states(self) -> None:
        """Remove every checkpoint: whoever opens the store then learns all of it from the beginning."""
        with self._asking() as ask:
            ask("DELETE FROM states")

    @contextmanager
    def _asking(self) -> Iterator[Ask]:
        if self.path is not None:
            with closing(sqlite3.connect(self.path)) as file, file:
                yield lambda query: file.execute(query).fetchall()
            return
        import psycopg

        with psycopg.connect(self.url, options=f"-c search_path={self.schema}") as database:

            def ask(query: str) -> list[tuple[Any, ...]]:
                cursor = database.execute(query.encode())
                return cursor.fetchall() if cursor.description else []

            yield ask


def final_states(gateways: Sequence[Process], configs: Sequence[Path], known: Known) -> dict[str, Arrays]:
    """Stop `gateways` in turn; return what each has kept, and what a router that begins anew learns from the store.

    A gateway that has learned nothing since its start keeps nothing: then it has what was kept before it.
    """
    states = {}
    for number, gateway in enumerate(gateways):
        gateway.stop()
        states[f"gateway {number}"] = Checkpoint.from_bytes(known.newest_state()).arrays
    known.forget_states()
    with Router.from_config(load_config(configs[0], environ={}), seed=0) as router:
        states["all learned again"] = router.learner.checkpoint().arrays
    return states


def largest_difference(states: Iterable[Arrays]) -> float:
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
