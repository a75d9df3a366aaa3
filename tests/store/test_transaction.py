"""A transaction writes many items in one statement, and what is then in the file is what one by one would have made."""

from __future__ import annotations

import sqlite3
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mixllm.conformance.store_samples import sample_feedback, sample_outcome, sample_record
from mixllm.store.database import open_writer
from mixllm.store.intake import Command, Item, QueuedFeedback
from mixllm.store.rows import checked_feedback
from mixllm.store.transaction import Written, write_batch
from mixllm.types import DecisionRecord, Feedback


def queued(feedback: Feedback) -> QueuedFeedback:
    normal, body = checked_feedback(feedback)
    return QueuedFeedback(feedback=normal, body=body, future=Future())


def unkeepable(record: DecisionRecord) -> DecisionRecord:
    """Return a decision with a number that no column holds."""
    return msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, tokens_in=1 << 70))


def change_pool(connection: sqlite3.Connection) -> None:
    place = "(SELECT coalesce(max(seq), 0) FROM events)"
    values = f"('x', 1, 0, '{{}}', {place})"
    connection.execute(f"INSERT INTO pool_changes (llm, active, created_at_s, body, after_seq) VALUES {values}")


def content(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as kept:
        orders = {"decisions": "rowid", "events": "seq", "totals": "rowid", "pool_changes": "seq"}
        return {table: kept.execute(f"SELECT * FROM {table} ORDER BY {by}").fetchall() for table, by in orders.items()}


def told(written: Written) -> tuple[object, ...]:
    receipts = [receipt if not isinstance(receipt, Exception) else str(receipt) for _, receipt in written.receipts]
    return written.decisions, written.outcomes, written.feedback, written.dropped, written.last_seq, receipts


def mixture(seed: int, count: int) -> list[Item]:
    """Return facts as they may come: repeated, of unknown decisions, before their decision, and not to be kept."""
    rng = np.random.default_rng(seed)
    items: list[Item] = []
    for number in range(count):
        record = sample_record(int(rng.integers(max(1, count * 4 // 5))))
        kind = rng.choice(
            ["both", "decision", "outcome", "feedback", "odd", "command"], p=[0.6, 0.15, 0.15, 0.05, 0.03, 0.02]
        )
        if kind in ("both", "decision"):
            items.append(record)
        if kind in ("both", "outcome"):
            items.append(sample_outcome(record))
        if kind == "feedback":
            items.append(queued(sample_feedback(record, f"f-{number % 7}")))
        if kind == "odd":
            items.append(unkeepable(record))
        if kind == "command":
            items.append(Command(run=change_pool, future=Future()))
    return items


@pytest.mark.parametrize("seed", range(6))
def test_together_writes_what_one_by_one_does(tmp_path: Path, seed: int) -> None:
    items = mixture(seed, 300)
    together, alone = tmp_path / "together.db", tmp_path / "alone.db"
    with closing(open_writer(together, busy_timeout_s=5.0)) as connection:
        written = write_batch(connection, items)
    single = Written()
    with closing(open_writer(alone, busy_timeout_s=5.0)) as connection:
        for item in items:
            one = write_batch(connection, [item])
            for name in ("decisions", "outcomes", "feedback", "dropped"):
                setattr(single, name, getattr(single, name) + getattr(one, name))
            single.last_seq = max(single.last_seq, one.last_seq)
            single.receipts += one.receipts
    assert told(written) == told(single)
    assert content(together) == content(alone)
    assert written.decisions > 100
    assert written.outcomes > 100
    assert written.dropped > 20


def test_a_batch_takes_few_statements(tmp_path: Path) -> None:
    items: list[Item] = []
    for number in range(64):
        items += [sample_record(number), sample_outcome(sample_record(number))]
    statements: list[str] = []
    with closing(open_writer(tmp_path / "m.db", busy_timeout_s=5.0)) as connection:
        connection.set_trace_callback(statements.append)
        written = write_batch(connection, items)
    assert (written.decisions, written.outcomes, written.last_seq) == (64, 64, 64)
    assert len(statements) == 4 + 4 + 3, "begin, commit and totals beside them"


def test_outcomes_keep_their_order(tmp_path: Path) -> None:
    records = [sample_record(number) for number in range(48)]
    order = np.random.default_rng(1).permutation(48).tolist()
    with closing(open_writer(tmp_path / "m.db", busy_timeout_s=5.0)) as connection:
        write_batch(connection, records)
        write_batch(connection, [sample_outcome(records[place]) for place in order])
        rows = connection.execute("SELECT decision_id FROM events ORDER BY seq").fetchall()
    assert [decision_id for (decision_id,) in rows] == [records[place].decision.decision_id for place in order]
