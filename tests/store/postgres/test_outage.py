"""The server is really stopped: routing goes on, what was acknowledged is kept, and nothing counts twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest
from tests.postgres_server import Server, running_server

from mixllm.conformance.store_samples import receipt, sample_feedback, sample_outcome, sample_record
from mixllm.errors import ConflictingEventError, StoreError, UnknownDecisionError
from mixllm.store import PostgresStore
from mixllm.store.postgres.database import _PATIENCE
from mixllm.types import DecisionRecord, FeedbackReceipt, LearnedState, LLMSpec, PoolChange

PATIENCE_S = 20.0

OpenStore = Callable[..., PostgresStore]


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server that is stopped and started: not the one that other tests share."""
    with running_server() as server:
        yield server


@pytest.fixture
def open_store(own_server: Server, tmp_path: Path) -> Iterator[OpenStore]:
    schema = own_server.schema()
    opened: list[PostgresStore] = []

    def open_(**parameters: object) -> PostgresStore:
        given: dict[str, object] = {"url": own_server.url, "schema": schema, "spool": tmp_path / "spool", **parameters}
        opened.append(PostgresStore(**given))  # type: ignore[arg-type]
        return opened[-1]

    yield open_
    own_server.start()
    for store in opened:
        store.close()


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never happens"
        time.sleep(0.01)


def spool_files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "spool").glob("*.spool"))


def test_an_outage_loses_nothing_and_repeats_nothing(
    own_server: Server, open_store: OpenStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, other = open_store(), open_store()
    stopped, going = threading.Event(), threading.Event()
    acknowledged: list[str] = []
    number = 0

    def acknowledge(future: Future[FeedbackReceipt]) -> None:
        acknowledged.append(future.result().feedback_id)

    def write(count: int) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            record = sample_record(number)
            store.append_decision(record)
            store.append_outcome(sample_outcome(record))
            store.append_feedback(sample_feedback(record, f"f{number}")).add_done_callback(acknowledge)
            time.sleep(0.001)

    def traffic() -> None:
        while not going.is_set():
            write(5)

    thread = threading.Thread(target=traffic)
    thread.start()
    time.sleep(0.3)
    own_server.stop()
    eventually(lambda: store.health().problem is not None and store.health().spooled > 50)
    assert spool_files(tmp_path)
    before = len(acknowledged)
    eventually(lambda: len(acknowledged) > before + 50)
    record = sample_record(number)
    assert store.decision(record.decision.decision_id).decision == record.decision, "known while the database is away"
    for call in (lambda: store.events_after(0), store.last_seq, store.counts):
        started_s = time.monotonic()
        with pytest.raises(StoreError, match="cannot be reached"):
            call()
        assert time.monotonic() - started_s < 2.0, "nobody waits for it"
    own_server.start()
    eventually(lambda: store.health().spooled == 0 and store.health().problem is None)
    going.set()
    thread.join(PATIENCE_S)
    store.flush()
    eventually(lambda: len(acknowledged) == number)
    assert dict(store.counts()) == {"decisions": number, "outcomes": number, "feedback": number, "dropped": 0}
    events = store.events_after(0, limit=10**6)
    assert [event.decision_id for event in events] == [
        f"d{place:08d}" for place in range(1, number + 1) for _ in range(2)
    ], "in the order of the appends, none twice"
    eventually(lambda: other.wait_for_events(events[-2].seq, timeout_s=0.0))
    assert other.events_after(0, limit=10**6) == events
    assert not spool_files(tmp_path)
    assert "has caught up" in caplog.text
    assert stopped is not None


def test_feedback_in_an_outage_is_checked_where_that_is_possible(own_server: Server, open_store: OpenStore) -> None:
    store = open_store()
    before, during = sample_record(1), sample_record(2)
    store.append_decision(before)
    assert not receipt(store, sample_feedback(before, "early")).duplicate
    own_server.stop()
    store.append_decision(during)
    assert not receipt(store, sample_feedback(during, "f")).duplicate
    assert receipt(store, sample_feedback(during, "f", created_at_s=9.0)).duplicate
    with pytest.raises(ConflictingEventError):
        receipt(store, sample_feedback(during, "f", value=0.9))
    assert not receipt(store, sample_feedback(sample_record(3), "of nobody")).duplicate, "who could know?"
    assert not receipt(store, sample_feedback(before, "early")).duplicate, "nor this"
    assert store.decision("d00000002").feedback == (sample_feedback(during, "f"),)
    with pytest.raises(StoreError):
        store.decision("d00000001")
    own_server.start()
    eventually(lambda: store.health().spooled == 0)
    assert [event.feedback and event.feedback.feedback_id for event in store.events_after(0)] == ["early", "f"]
    assert store.health().spooled == 0, "the one of nobody waits beside"
    with pytest.raises(UnknownDecisionError):
        store.decision("d00000003")


def test_feedback_waits_for_its_decision_which_another_process_ships_later(
    own_server: Server, open_store: OpenStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    decided, judged = open_store(spool=tmp_path / "of-another-machine"), open_store()
    own_server.stop()
    record = sample_record(1)
    decided.append_decision(record)
    decided.flush()
    decided.close()
    assert not receipt(judged, sample_feedback(record, "f")).duplicate
    own_server.start()
    eventually(lambda: "wait for them" in caplog.text)
    assert judged.health().spooled == 0, "it keeps nothing else back"
    assert not receipt_of(judged, sample_record(2), "later").duplicate
    judged.close()
    assert spool_files(tmp_path), "also across a restart"
    again = open_store()
    eventually(lambda: caplog.text.count("wait for them") == 2)
    open_store(spool=tmp_path / "of-another-machine")
    eventually(lambda: again.counts()["feedback"] == 2)
    events = again.events_after(0)
    assert [event.feedback and event.feedback.feedback_id for event in events] == ["later", "f"]
    eventually(lambda: not spool_files(tmp_path))


def test_feedback_does_not_wait_for_ever(
    own_server: Server, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("mixllm.store.postgres.writer._WAITING_MOST_S", 0.0)
    store = open_store()
    own_server.stop()
    assert not receipt(store, sample_feedback(sample_record(1), "of nobody")).duplicate
    own_server.start()
    eventually(lambda: not spool_files(tmp_path) and store.health().problem is None)
    assert store.counts()["feedback"] == 0


def test_a_spool_that_does_not_fit_is_left_where_it_is(
    own_server: Server, open_store: OpenStore, tmp_path: Path
) -> None:
    store = open_store()
    own_server.stop()
    record = sample_record(1)
    store.append_decision(record)
    assert not receipt(store, sample_feedback(record, "f")).duplicate
    store.close()
    own_server.start()
    small = open_store(max_spool_bytes=10)
    small.flush()
    assert small.counts()["feedback"] == 0
    assert spool_files(tmp_path), "what was acknowledged is there yet"
    small.close()
    large = open_store()
    eventually(lambda: large.counts()["feedback"] == 1)


def test_who_waits_is_told_at_once(own_server: Server, open_store: OpenStore) -> None:
    store = open_store()
    own_server.stop()
    record = sample_record(1)
    store.append_decision(record)
    store.flush()
    calls: list[Callable[[], object]] = [
        lambda: store.append_pool_change(PoolChange(spec=LLMSpec(name="a"), active=True, created_at_s=0.0)),
        lambda: store.save_state(LearnedState(version=1, position=0, created_at_s=0.0, payload=b"")),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="cannot be reached"):
            call()
    own_server.start()
    eventually(lambda: store.health().problem is None)
    for call in calls:
        call()
    assert store.states()[0].version == 1
    assert store.decision("d00000001").decision == record.decision


def test_what_is_spooled_survives_the_process(own_server: Server, open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store()
    records = [sample_record(number) for number in range(20)]
    own_server.stop()
    for record in records:
        store.append_decision(record)
        store.append_outcome(sample_outcome(record))
    assert not receipt(store, sample_feedback(records[3], "f")).duplicate
    store.close()
    assert len(spool_files(tmp_path)) == 1
    own_server.start()
    later = open_store()
    eventually(lambda: later.last_seq() == 21)
    assert later.events_after(20)[0].feedback == sample_feedback(records[3], "f")
    assert later.counts()["decisions"] == 20
    eventually(lambda: not spool_files(tmp_path))


def test_a_full_spool_drops_and_refuses(own_server: Server, open_store: OpenStore) -> None:
    store = open_store(max_spool_bytes=20_000)
    own_server.stop()
    for number in range(100):
        store.append_decision(sample_record(number))
    store.flush()
    health = store.health()
    assert 0 < health.spooled < 100
    assert health.spooled_bytes <= 20_000
    assert health.dropped == 100 - health.spooled
    with pytest.raises(StoreError):
        receipt(store, sample_feedback(sample_record(1), "f" * 500))
    own_server.start()
    eventually(lambda: store.health().spooled == 0)
    assert store.counts()["decisions"] == health.spooled


def test_without_a_spool_feedback_is_refused_and_facts_wait(own_server: Server, open_store: OpenStore) -> None:
    store = open_store(spool=None)
    own_server.stop()
    record = sample_record(1)
    store.append_decision(record)
    with pytest.raises(StoreError):
        receipt(store, sample_feedback(record, "f"))
    own_server.start()
    eventually(lambda: store.health().spooled == 0)
    assert not receipt(store, sample_feedback(record, "f")).duplicate
    assert store.counts()["decisions"] == 1


def test_a_server_that_freezes_counts_as_away(
    own_server: Server, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mixllm.store.postgres.store._ANSWER_S", 0.5)
    monkeypatch.setitem(_PATIENCE, "connect_timeout", "2")
    store = open_store()
    record = sample_record(1)
    assert not receipt_of(store, record, "before").duplicate
    pids = own_server.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert not receipt_of(store, record, "during").duplicate, "it is spooled"
        assert store.health().spooled == 2
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: store.health().spooled == 0 and store.health().problem is None)
    assert [event.feedback and event.feedback.feedback_id for event in store.events_after(0)] == ["before", "during"]


def receipt_of(store: PostgresStore, record: DecisionRecord, feedback_id: str) -> FeedbackReceipt:
    store.append_decision(record)
    return receipt(store, sample_feedback(record, feedback_id))


def test_a_start_waits_for_the_server_and_then_says_what_is_wrong(own_server: Server, open_store: OpenStore) -> None:
    own_server.stop()
    started_s = time.monotonic()
    with pytest.raises(StoreError, match=r"cannot be reached\. Start it, or correct"):
        open_store(connect_patience_s=0.3)
    assert time.monotonic() - started_s >= 0.3
    opened: list[PostgresStore] = []
    thread = threading.Thread(target=lambda: opened.append(open_store(connect_patience_s=PATIENCE_S)))
    thread.start()
    own_server.start()
    thread.join(PATIENCE_S)
    assert opened[0].last_seq() == 0


def test_a_restart_between_two_reads_is_not_noticed(own_server: Server, open_store: OpenStore) -> None:
    store = open_store()
    store.append_decision(sample_record(1))
    store.flush()
    assert store.last_seq() == 0
    own_server.stop()
    own_server.start()
    eventually(lambda: store.health().problem is None)
    assert store.counts()["decisions"] == 1
    assert not receipt(store, sample_feedback(msgspec.structs.replace(sample_record(1)), "f")).duplicate
