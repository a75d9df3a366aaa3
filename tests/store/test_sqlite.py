"""What the SQLite store promises beyond the contract of every store."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from mixllm.conformance.store_samples import receipt, sample_feedback, sample_outcome, sample_record
from mixllm.errors import InvalidValueError, StoreClosedError, StoreError
from mixllm.store import SQLiteStore
from mixllm.types import Feedback, FeedbackKind, LearnedState, Outcome, OutcomeEvent

OpenStore = Callable[..., SQLiteStore]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("max_commit_delay_s", -0.1),
        ("max_commit_delay_s", float("nan")),
        ("max_commit_delay_s", 61.0),
        ("max_batch", 0),
        ("max_queue", 0),
        ("max_queue_bytes", 0),
        ("busy_timeout_s", -1.0),
        ("busy_timeout_s", float("inf")),
        ("keep_states", 0),
        ("path", ""),
        ("path", ":memory:"),
        ("path", "a\0b"),
    ],
)
def test_parameters_out_of_range_are_refused(path: Path, open_store: OpenStore, parameter: str, value: object) -> None:
    with pytest.raises(InvalidValueError, match=parameter):
        open_store(**{parameter: value})
    assert not path.exists()


def test_every_parameter_arrives(path: Path, open_store: OpenStore) -> None:
    store = open_store(
        max_commit_delay_s=0.5, max_batch=7, max_queue=8, max_queue_bytes=999, busy_timeout_s=0.25, keep_states=3
    )
    assert store.path == path
    assert (store._intake._max_batch, store._intake._max_queue, store._intake._max_queue_bytes) == (7, 8, 999)
    assert store._intake._max_delay_s == 0.5
    assert store._writer._connection.execute("PRAGMA busy_timeout").fetchone() == (250,)
    with store._readers.connection() as connection:
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (250,)
    for version in range(1, 6):
        store.save_state(LearnedState(version=version, position=0, created_at_s=0.0, payload=b""))
    assert store.state_versions() == [3, 4, 5]


def test_commits_wait_for_the_disk(open_store: OpenStore) -> None:
    connection = open_store()._writer._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_first_fact_wakes_the_writer_and_the_rest_shares_its_commit(open_store: OpenStore) -> None:
    store = open_store(max_commit_delay_s=0.05)
    commits: list[str] = []
    store._writer._connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    records = [sample_record(number) for number in range(50)]
    for record in records:
        store.append_decision(record)
    assert not store.append_feedback(sample_feedback(records[-1], "f")).result(10).duplicate
    assert len(commits) < 10
    assert store.counts()["decisions"] == 50


def test_file_reports_without_reading_bodies(path: Path, open_store: OpenStore) -> None:
    store = open_store()
    record = sample_record(1, llm="small")
    store.append_decision(record)
    outcome = Outcome(llm="large", tokens_in=7, tokens_out=9, cost_usd=0.25, latency_s=1.5, attempt=1)
    store.append_outcome(OutcomeEvent(decision_id=record.decision.decision_id, outcome=outcome, created_at_s=2.0))
    receipt(store, sample_feedback(record, "f", value=0.3))
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(
            "SELECT decision_id, llm, status, attempt, tokens_in, tokens_out, cost_usd, latency_s FROM outcomes"
        ).fetchall() == [(record.decision.decision_id, "large", "ok", 1, 7, 9, 0.25, 1.5)]
        assert connection.execute("SELECT feedback_id, llm, kind, metric, source, value FROM feedback").fetchall() == [
            ("f", "large", "refined", "quality", "user", 0.3)
        ]
        assert connection.execute(
            "SELECT llm, policy, trade_off, model_version, tokens_in, json_extract(body, '$.reason') FROM decisions"
        ).fetchall() == [("small", "squarecb", 1.4, 3, 101, record.decision.reason)]


def test_no_prompt_reaches_the_disk_unasked(tmp_path: Path, open_store: OpenStore) -> None:
    store = open_store()
    store.append_decision(sample_record(1, prompt=None))
    store.append_decision(sample_record(2, prompt="stored on purpose"))
    store.flush()
    with store._readers.connection() as connection:
        assert connection.execute("SELECT prompt FROM decisions ORDER BY decision_id").fetchall() == [
            (None,),
            ("stored on purpose",),
        ]


def test_value_that_cannot_be_kept_is_dropped_alone(open_store: OpenStore, caplog: pytest.LogCaptureFixture) -> None:
    store = open_store()
    first, last = sample_record(1), sample_record(3)
    broken = msgspec.structs.replace(
        first, decision=msgspec.structs.replace(sample_record(2).decision, tokens_in=2**70)
    )
    huge = sample_outcome(first)
    huge = msgspec.structs.replace(huge, outcome=msgspec.structs.replace(huge.outcome, tokens_out=2.5))
    store.append_decision(first)
    store.append_decision(broken)
    store.append_outcome(huge)
    store.append_decision(last)
    with pytest.raises(StoreError, match="cannot keep a value"):
        store.save_state(LearnedState(version=2**70, position=0, created_at_s=0.0, payload=b""))
    assert not receipt(store, sample_feedback(last, "f")).duplicate
    assert store.counts() == {"decisions": 2, "outcomes": 0, "feedback": 1, "dropped": 2}
    assert "DecisionRecord cannot be kept" in caplog.text
    assert first.decision.reason not in caplog.text


def test_two_stores_share_one_file(open_store: OpenStore) -> None:
    one, other = open_store(), open_store()
    records = [sample_record(number) for number in range(20)]
    for number, record in enumerate(records):
        store = (one, other)[number % 2]
        store.append_decision(record)
        receipt(store, sample_feedback(record, f"f{number}"))
    assert not receipt(one, sample_feedback(records[1], "across")).duplicate, "a decision of the other store is known"
    assert receipt(other, sample_feedback(records[1], "across")).duplicate
    assert one.events_after(0) == other.events_after(0)
    assert [event.seq for event in one.events_after(0)] == sorted({event.seq for event in other.events_after(0)})
    assert one.counts() == other.counts() == {"decisions": 20, "outcomes": 0, "feedback": 21, "dropped": 0}


def test_wait_notices_events_of_another_process(open_store: OpenStore) -> None:
    here, there = open_store(), open_store()
    record = sample_record(1)
    there.append_decision(record)
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(here.wait_for_events(0, timeout_s=30.0)))
    waiter.start()
    receipt(there, sample_feedback(record, "f"))
    assert here.wait_for_events(0, timeout_s=0.0), "without waiting it looks into the file"
    waiter.join(10)
    assert woken == [True]
    assert len(here.events_after(0)) == 1


def test_waiting_goes_on_past_one_look_into_the_file(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.store.sqlite._OTHERS_POLL_S", 0.005)
    store = open_store()
    assert not store.wait_for_events(0, timeout_s=0.03)
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(store.wait_for_events(0, timeout_s=30.0)))
    waiter.start()
    waiter.join(0.03)
    assert woken == []
    store.close()
    waiter.join(10)
    assert woken == [False]


def test_reading_does_not_wait_for_a_writer(path: Path, open_store: OpenStore) -> None:
    store = open_store(busy_timeout_s=0.0)
    record = sample_record(1)
    store.append_decision(record)
    receipt(store, sample_feedback(record, "f"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.decision(record.decision.decision_id).decision == record.decision
        assert len(store.events_after(0)) == len(store.decisions()) == 1
        assert store.counts()["feedback"] == 1


def test_readers_of_many_threads_are_all_closed(open_store: OpenStore) -> None:
    store = open_store()
    record = sample_record(1)
    store.append_decision(record)
    receipt(store, sample_feedback(record, "f"))
    meet = threading.Barrier(8)
    seen: list[int] = []

    def read() -> None:
        with store._readers.connection() as connection:
            meet.wait(10)
            seen.append(connection.execute("SELECT count(*) FROM events").fetchone()[0])

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == [1] * 8
    assert 0 < len(store._readers._idle) <= 4
    with store._readers.connection() as lent:
        store.close()
        assert lent.execute("SELECT count(*) FROM events").fetchone() == (1,), "a read under way is finished"
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        lent.execute("SELECT 1")


def test_readers_cannot_write(open_store: OpenStore) -> None:
    store = open_store()
    with pytest.raises(StoreError, match="may not be written"), store._readers.connection() as connection:
        connection.execute("DELETE FROM events")


def test_damaged_row_names_the_next_step(path: Path, open_store: OpenStore) -> None:
    store = open_store()
    record = sample_record(1)
    store.append_decision(record)
    receipt(store, sample_feedback(record, "f"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE events SET body = '{'")
        other.execute("UPDATE decisions SET body = '[]'")
    for call in (lambda: store.events_after(0), store.decisions, lambda: store.decision(record.decision.decision_id)):
        with pytest.raises(StoreError, match="restore a copy"):
            call()
    with pytest.raises(StoreError, match="restore a copy"):
        receipt(store, sample_feedback(record, "f"))
    store.append_outcome(sample_outcome(record))
    store.flush()
    assert store.counts()["outcomes"] == 1, "the writer goes on"


def test_forgotten_store_is_flushed_and_closed(path: Path, open_store: OpenStore) -> None:
    store = SQLiteStore(path=path, max_commit_delay_s=30.0)
    thread = store._writer._thread
    store.append_decision(sample_record(1))
    del store
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    assert open_store().counts()["decisions"] == 1


def test_store_is_flushed_at_the_end_of_the_program(path: Path, open_store: OpenStore) -> None:
    code = (
        "import sys\n"
        "from mixllm.conformance.store_samples import sample_record\n"
        "from mixllm.store import SQLiteStore\n"
        "store = SQLiteStore(path=sys.argv[1], max_commit_delay_s=30.0)\n"
        "store.append_decision(sample_record(1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert open_store().counts()["decisions"] == 1


def test_close_from_a_callback_does_not_hang(path: Path, open_store: OpenStore) -> None:
    store = open_store(max_commit_delay_s=0.05)
    record, late = sample_record(1), sample_record(2)
    store.append_decision(record)
    future = store.append_feedback(sample_feedback(record, "f"))
    closed = threading.Event()

    def close(_: object) -> None:
        store.append_decision(late)
        store.close()
        closed.set()

    future.add_done_callback(close)
    assert closed.wait(10)
    store._writer._thread.join(10)
    with pytest.raises(StoreClosedError):
        store.flush()
    assert open_store().counts()["decisions"] == 2, "what was queued is written"


def test_waiting_in_a_callback_is_refused_and_not_a_deadlock(open_store: OpenStore) -> None:
    store = open_store()
    record = sample_record(1)
    store.append_decision(record)
    errors: list[str] = []
    answered = threading.Event()

    def flush(_: object) -> None:
        try:
            store.flush()
        except StoreError as error:
            errors.append(str(error))
        answered.set()

    store.append_feedback(sample_feedback(record, "f")).add_done_callback(flush)
    assert answered.wait(10)
    assert "another thread" in errors[0]


def test_repeated_content_is_recognised_whatever_python_made_of_it(open_store: OpenStore) -> None:
    store = open_store()
    record = sample_record(1)
    store.append_decision(record)
    as_int = Feedback(
        feedback_id="f", decision_id=record.decision.decision_id, kind=FeedbackKind.BINARY, value=1, tags=(("a", "b"),)
    )
    assert not receipt(store, as_int).duplicate
    as_float = msgspec.structs.replace(as_int, value=1.0, tags=[["a", "b"]])
    assert receipt(store, as_float).duplicate
