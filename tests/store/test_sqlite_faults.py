"""Locks, full disks and full queues: nothing acknowledged is lost, nobody hangs, and the store goes on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import mixllm.store.writer
from mixllm.conformance.store_samples import receipt, sample_feedback, sample_outcome, sample_record
from mixllm.errors import StoreError, UnknownDecisionError
from mixllm.store import SQLiteStore
from mixllm.types import LearnedState, LLMSpec, PoolChange

OpenStore = Callable[..., SQLiteStore]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def test_locked_file_fails_feedback_and_keeps_the_rest(
    path: Path, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(busy_timeout_s=0.02)
    records = [sample_record(number) for number in range(3)]
    with locked(path):
        store.append_decision(records[0])
        store.append_outcome(sample_outcome(records[0]))
        future = store.append_feedback(sample_feedback(records[0], "f"))
        with pytest.raises(StoreError, match=r"mixllm\.db.*locked.*Close that process"):
            future.result(10)
        store.append_decision(records[1])
        waits: tuple[Callable[[], object], ...] = (
            store.flush,
            lambda: store.save_state(LearnedState(version=1, position=0, created_at_s=0.0, payload=b"")),
            lambda: store.append_pool_change(PoolChange(spec=LLMSpec(name="a"), active=True, created_at_s=0.0)),
        )
        for wait in waits:
            with pytest.raises(StoreError, match="locked"):
                wait()
        known = store.decision(records[0].decision.decision_id)
        assert (len(known.outcomes), len(known.feedback)) == (1, 0), "queued facts are seen, refused feedback is not"
        assert store.events_after(0) == []
    store.append_decision(records[2])
    store.flush()
    assert [one.decision for one in store.decisions()] == [record.decision for record in reversed(records)]
    assert [event.outcome for event in store.events_after(0)] == [sample_outcome(records[0]).outcome]
    assert not receipt(store, sample_feedback(records[0], "f")).duplicate, "the feedback can be sent again"
    assert store.counts() == {"decisions": 3, "outcomes": 1, "feedback": 1, "dropped": 0}
    assert (store.load_state(), store.pool_changes()) == (None, [])
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2, "one line when it begins, one when it is over"
    assert "locked" in messages[0]
    assert "can be written again" in messages[1]


def test_short_lock_is_waited_for(path: Path, open_store: OpenStore) -> None:
    store = open_store(busy_timeout_s=20.0)
    record = sample_record(1)
    with locked(path):
        store.append_decision(record)
        future = store.append_feedback(sample_feedback(record, "f"))
        assert not store.wait_for_events(0, timeout_s=0.05)
        assert not future.done()
    assert not future.result(20).duplicate


def test_full_disk_is_survived(open_store: OpenStore) -> None:
    store = open_store()
    record = sample_record(1)
    store.append_decision(record)
    store.flush()
    writing = store._writer._connection
    (pages,) = writing.execute("PRAGMA page_count").fetchone()
    writing.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to have the disk full.
    late = [sample_record(number, prompt="x" * 100_000) for number in range(2, 5)]
    for one in late:
        store.append_decision(one)
        store.append_outcome(sample_outcome(one))
    future = store.append_feedback(sample_feedback(record, "f"))
    with pytest.raises(StoreError, match=r"disk is full\. Free space"):
        future.result(10)
    assert store.counts() == {"decisions": 1, "outcomes": 0, "feedback": 0, "dropped": 0}
    assert store.decision(late[-1].decision.decision_id).prompt == "x" * 100_000
    writing.execute("PRAGMA max_page_count = 1000000")
    store.flush()
    assert [event.decision_id for event in store.events_after(0)] == [one.decision.decision_id for one in late]
    assert not receipt(store, sample_feedback(record, "f")).duplicate
    assert store.counts() == {"decisions": 4, "outcomes": 3, "feedback": 1, "dropped": 0}


def test_close_of_a_locked_file_says_what_is_lost(path: Path, open_store: OpenStore) -> None:
    store = open_store(busy_timeout_s=0.02, max_commit_delay_s=0.0)
    record = sample_record(1)
    store.append_decision(sample_record(0))
    store.flush()
    with locked(path):
        store.append_decision(record)
        store.append_outcome(sample_outcome(record))
        future = store.append_feedback(sample_feedback(record, "f"))
        with pytest.raises(StoreError, match="2 decisions and outcomes are lost"):
            store.close()
        assert isinstance(future.exception(10), StoreError)
        store.close()
    assert store._writer.dropped == 2
    again = open_store()
    assert again.counts()["decisions"] == 1
    assert again.events_after(0) == []


def test_full_queue_drops_new_facts_and_refuses_feedback(
    path: Path, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(max_queue=10, max_batch=4, busy_timeout_s=20.0, max_commit_delay_s=0.0)
    records = [sample_record(number) for number in range(30)]
    with locked(path):
        for record in records:
            store.append_decision(record)
        store.append_outcome(sample_outcome(records[0]))
        refused = store.append_feedback(sample_feedback(records[0], "f"))
        assert refused.done(), "at once: nobody waits for a full queue"
        with pytest.raises(StoreError, match=r"queue is full.*Send it again"):
            refused.result()
        assert store.decision(records[9].decision.decision_id).decision == records[9].decision
        with pytest.raises(UnknownDecisionError):
            store.decision(records[10].decision.decision_id)
        assert store.counts()["dropped"] == 21
    store.flush()
    assert [one.decision for one in store.decisions()] == [record.decision for record in reversed(records[:10])]
    assert not receipt(store, sample_feedback(records[0], "f")).duplicate
    store.append_outcome(sample_outcome(records[20]))
    with pytest.raises(UnknownDecisionError):
        receipt(store, sample_feedback(records[20], "g"))
    assert store.counts() == {"decisions": 10, "outcomes": 0, "feedback": 1, "dropped": 22}
    assert [record.getMessage().count("falls behind") for record in caplog.records] == [1], "logged once, not 20 times"


def test_queue_stays_bounded_while_the_fault_lasts(
    path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixllm.store.writer, "_RETRY_S", 0.001)
    store = open_store(max_queue=10, max_batch=4, busy_timeout_s=0.0, max_commit_delay_s=0.0)
    with locked(path):
        for number in range(20):
            store.append_decision(sample_record(number))
            with pytest.raises(StoreError, match="locked"):
                store.flush()
        assert store._intake._held == 10
        assert len(store._intake._queue) == 10
    store.flush()
    assert [one.decision.decision_id for one in store.decisions()] == [f"d{number:08d}" for number in range(9, -1, -1)]
    assert store.counts()["dropped"] == 10
    assert (store._intake._held, store._intake._held_bytes, store._intake._held_by_decision) == (0, 0, {})


def test_queue_is_bounded_in_bytes(path: Path, open_store: OpenStore) -> None:
    store = open_store(max_queue_bytes=2_500, busy_timeout_s=20.0, max_commit_delay_s=0.0)
    with locked(path):
        for number in range(4):
            store.append_decision(sample_record(number, prompt="x" * 1_000))
        assert store.counts()["dropped"] == 2
    store.flush()
    store.append_decision(sample_record(9, prompt="x" * 2_000))
    store.flush()
    assert store.counts() == {"decisions": 3, "outcomes": 0, "feedback": 0, "dropped": 2}


def test_writer_that_breaks_tells_everybody(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store()
    record = sample_record(1)
    store.append_decision(record)
    store.flush()

    def broken(connection: sqlite3.Connection, items: Sequence[object]) -> None:
        raise RuntimeError("a bug")

    seen: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_value))
    monkeypatch.setattr(mixllm.store.writer, "write_batch", broken)
    future = store.append_feedback(sample_feedback(record, "f"))
    with pytest.raises(StoreError, match=r"its writer has stopped\. Open the store again"):
        future.result(10)
    store._writer._thread.join(10)
    assert [str(error) for error in seen] == ["a bug"], "the bug is not hidden"
    calls: tuple[Callable[[], object], ...] = (
        lambda: store.append_decision(record),
        lambda: store.append_feedback(sample_feedback(record, "g")),
        store.flush,
    )
    for call in calls:
        with pytest.raises(StoreError, match="writer has stopped"):
            call()
    store.close()
