from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mixllm.conformance.store_samples import receipt, sample_feedback, sample_outcome, sample_record
from mixllm.store import SQLiteStore
from mixllm.store.migrations import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION, migrate
from mixllm.store.reading import read_spent_usd
from mixllm.types import LearnedState

OpenStore = Callable[..., SQLiteStore]

DATA = Path(__file__).parent / "data"
OLD = (DATA / "version_1.sql").read_text(encoding="utf-8")


def test_a_file_of_version_2_is_brought_up_to_date(path: Path, open_store: OpenStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript((DATA / "version_2.sql").read_text(encoding="utf-8"))
    store = open_store()
    assert store.counts() == {"decisions": 2, "outcomes": 2, "feedback": 1, "dropped": 0}
    (info,) = store.states()
    assert (info.version, info.position, info.size_bytes, info.quarantined) == (4, 2, len(b"learned\xff"), None)
    assert store.load_state() == LearnedState(version=4, position=2, created_at_s=1.5, payload=b"learned\xff")
    store.quarantine_state(4, "it is damaged")
    store.close()
    assert open_store().load_state() is None
    new_file = tmp_path / "new.db"
    open_store(path=new_file).close()
    assert schema(path) == schema(new_file), "an old file becomes what a new one is"


@pytest.fixture
def old_file(path: Path) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(OLD)
    return path


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    return [(name, " ".join(sql.split())) for name, sql in rows]


def test_steps_are_numbered_without_gaps() -> None:
    assert [migration.version for migration in MIGRATIONS] == list(range(1, SCHEMA_VERSION + 1))
    assert all(migration.purpose and migration.statements for migration in MIGRATIONS)


def test_new_file_knows_its_version(path: Path, open_store: OpenStore) -> None:
    open_store().close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_old_file_is_brought_up_to_date(old_file: Path, open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store()
    first, second = sample_record(1, llm="small"), sample_record(2, llm="large", prompt="What is 2 + 2?")
    assert store.counts() == {"decisions": 2, "outcomes": 2, "feedback": 1, "dropped": 0}
    known = store.decision(first.decision.decision_id)
    assert known.decision == first.decision
    assert known.outcomes == (sample_outcome(first).outcome,)
    assert known.feedback == (sample_feedback(first, "f1"),)
    assert store.decision(second.decision.decision_id).prompt == "What is 2 + 2?"
    events = store.events_after(0)
    assert [(event.seq, event.llm, event.encoding) for event in events] == [
        (1, "small", first.encoding),
        (2, "small", first.encoding),
        (3, "small", second.encoding),
    ]
    assert store.load_state() == LearnedState(version=4, position=2, created_at_s=1.5, payload=b"learned\xff")
    assert [(change.spec.name, change.active) for change in store.pool_changes()] == [("small", False)]
    assert receipt(store, sample_feedback(first, "f1", created_at_s=77.0)).duplicate
    assert not receipt(store, sample_feedback(second, "f2")).duplicate
    assert [(event.decision_id, event.llm) for event in store.events_after(3)] == [("d00000002", "small")]
    store.close()
    new_file = tmp_path / "new.db"
    open_store(path=new_file).close()
    assert schema(old_file) == schema(new_file), "an old file becomes what a new one is"


def test_file_that_knew_keys_before_it_had_columns_for_them(path: Path, open_store: OpenStore) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(OLD)
        connection.execute(
            "UPDATE decisions SET body = json_set(body, '$.key_id', 'key-a') WHERE decision_id = 'd00000001'"
        )
        connection.execute("UPDATE events SET body = json_set(body, '$.cost_usd', 0.5) WHERE kind = 'feedback'")
        connection.execute("UPDATE events SET body = 'damaged' WHERE seq = 3")
    store = open_store()
    assert store.spent_usd(since_s=0.0) == pytest.approx({"key-a": 0.1 + 0.5, "": 1.1})
    assert [event.key_id for event in store.events_after(0, limit=2)] == ["key-a", "key-a"]


def test_spending_is_read_from_its_index(path: Path, open_store: OpenStore) -> None:
    open_store().close()
    with closing(sqlite3.connect(path)) as connection:
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        read_spent_usd(connection, since_s=1.0, until_seq=5)
        (question,) = asked
        plan = " ".join(str(row) for row in connection.execute(f"EXPLAIN QUERY PLAN {question}"))
    assert "USING COVERING INDEX events_by_cost (created_at_s>?)" in plan


def test_migration_is_done_once(old_file: Path, open_store: OpenStore) -> None:
    open_store().close()
    before = schema(old_file)
    store = open_store()
    assert store.counts()["decisions"] == 2
    store.close()
    assert schema(old_file) == before


def test_step_that_fails_leaves_the_file_at_the_version_before(
    old_file: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = schema(old_file)
    with closing(sqlite3.connect(old_file, isolation_level=None)) as connection:
        statements: list[str] = []

        def deny(action: int, *_: object) -> int:
            statements.append(str(action))
            return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_CREATE_TABLE else sqlite3.SQLITE_OK

        connection.set_authorizer(deny)
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            migrate(connection)
        assert statements
        assert not connection.in_transaction
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert schema(old_file) == before
    assert open_store().counts()["decisions"] == 2, "the next opening goes on from there"


@pytest.mark.parametrize("old", [False, True])
def test_processes_that_open_a_file_at_once_migrate_it_once(path: Path, open_store: OpenStore, old: bool) -> None:
    if old:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(OLD)
    meet = threading.Barrier(6)
    stores: list[SQLiteStore] = []
    errors: list[Exception] = []

    def open_one() -> None:
        meet.wait(10)
        try:
            stores.append(open_store())
        except Exception as error:  # noqa: BLE001 -- whatever it is, the test shows it
            errors.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert [store.counts()["decisions"] for store in stores] == [2 * old] * 6
