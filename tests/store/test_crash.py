"""A process is killed in the middle of a burst; what it was promised must be in the file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mixllm.conformance.store_samples import receipt, sample_feedback, sample_record
from mixllm.store import SQLiteStore

OpenStore = Callable[..., SQLiteStore]

BURST = Path(__file__).parent / "burst.py"
MAX_COMMIT_DELAY_S = 0.01
MAX_UNANSWERED = 4 * 30
"""Each of the 4 threads waits for the feedback on every 30th decision."""
SLOW_DISK_S = 3.0
"""Far more than a commit takes on a loaded machine; the exact bound is checked by the order of the appends."""


@dataclass(slots=True)
class Told:
    """What the killed process had said."""

    decisions: set[str] = field(default_factory=set)
    feedback: set[str] = field(default_factory=set)
    killed_at_s: float = 0.0

    def read(self, line: str) -> None:
        kind, key = line.split()
        (self.decisions if kind == "d" else self.feedback).add(key)


def kill_after(path: Path, acknowledged: int) -> Told:
    told = Told()
    with subprocess.Popen([sys.executable, str(BURST), str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told.read(line)
            if len(told.feedback) >= acknowledged and not told.killed_at_s:
                process.kill()
                told.killed_at_s = time.time()
    assert process.returncode == -9
    return told


def thread_and_number(key: str) -> tuple[str, int]:
    thread, number = key.split("-")
    return thread, int(number)


@pytest.mark.parametrize("acknowledged", [1, 25, 150, 600, 1_000])
def test_what_was_acknowledged_survives_a_kill(path: Path, open_store: OpenStore, acknowledged: int) -> None:
    told = kill_after(path, acknowledged)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        feedback = [key for (key,) in connection.execute("SELECT feedback_id FROM feedback")]
        stored = dict(connection.execute("SELECT decision_id, created_at_s FROM decisions"))
        orphans = "SELECT count(*) FROM events WHERE decision_id NOT IN (SELECT decision_id FROM decisions)"
        assert connection.execute(orphans).fetchone() == (0,)
        counted = connection.execute(
            "SELECT (SELECT count(*) FROM decisions), (SELECT count(*) FROM outcomes), (SELECT count(*) FROM feedback)"
        ).fetchone()
        assert connection.execute("SELECT decisions, outcomes, feedback FROM totals").fetchone() == counted

    assert len(told.feedback) >= acknowledged
    assert told.feedback <= set(feedback), "no acknowledged feedback is lost"
    assert len(feedback) == len(set(feedback)), "none is there twice"

    numbers: dict[str, set[int]] = defaultdict(set)
    for thread, number in map(thread_and_number, stored):
        numbers[thread].add(number)
    for thread, kept in numbers.items():
        assert kept == set(range(len(kept))), f"thread {thread} has lost its last decisions only"
    for thread, number in map(thread_and_number, told.feedback):
        assert number in numbers[thread], "all that was appended before an acknowledged feedback is there"

    lost = told.decisions - set(stored)
    assert len(lost) <= MAX_UNANSWERED, "nothing waits longer than what came before it"
    newest_s = max(stored.values())
    assert newest_s >= told.killed_at_s - MAX_COMMIT_DELAY_S - SLOW_DISK_S, "only the last moment is lost"

    check_goes_on(open_store(), events=counted[1] + counted[2])


def check_goes_on(store: SQLiteStore, *, events: int) -> None:
    seen = store.events_after(0, limit=10**9)
    assert len(seen) == events, "learning finds every event"
    assert [event.seq for event in seen] == sorted({event.seq for event in seen})
    record = sample_record(1)
    store.append_decision(record)
    assert not receipt(store, sample_feedback(record, "after")).duplicate
    assert [event.decision_id for event in store.events_after(seen[-1].seq)] == [record.decision.decision_id]
