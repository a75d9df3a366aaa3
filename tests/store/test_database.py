"""What is no store is refused with the next step, and left as it was."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mixllm.conformance.store_samples import sample_record
from mixllm.errors import StoreError
from mixllm.store import SQLiteStore
from mixllm.store.database import _use_wal, store_fault
from mixllm.store.migrations import SCHEMA_VERSION

OpenStore = Callable[..., SQLiteStore]


def fill(store: SQLiteStore) -> None:
    for number in range(200):
        store.append_decision(sample_record(number))
    store.close()


def refused(path: Path, open_store: OpenStore, message: str) -> None:
    before = path.read_bytes()
    with pytest.raises(StoreError, match=message) as caught:
        open_store()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before, "left as it was"


@pytest.mark.parametrize("content", [b"x", b"id,name\n1,a\n" * 500, b"SQLite format 2\0" * 300])
def test_file_of_another_kind_is_refused(path: Path, open_store: OpenStore, content: bytes) -> None:
    path.write_bytes(content)
    refused(path, open_store, r"no SQLite database\. Give another path")
    assert list(path.parent.iterdir()) == [path]


def test_header_without_a_database_is_refused(path: Path, open_store: OpenStore) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5_000)
    refused(path, open_store, "no SQLite database|is damaged")


def test_empty_file_becomes_a_store(path: Path, open_store: OpenStore) -> None:
    path.touch()
    assert open_store().counts()["decisions"] == 0


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_overwritten_page_is_refused(path: Path, open_store: OpenStore, part: float) -> None:
    fill(open_store())
    content = bytearray(path.read_bytes())
    begin = int(len(content) * part) // 4096 * 4096
    content[begin : begin + 4096] = b"\xaa" * 4096
    path.write_bytes(content)
    refused(path, open_store, r"is damaged\. Move it aside and restore a copy")


@pytest.mark.parametrize("pages", [1, 5, 20])
def test_truncated_file_is_refused(path: Path, open_store: OpenStore, pages: int) -> None:
    fill(open_store())
    path.write_bytes(path.read_bytes()[: 4096 * pages])
    refused(path, open_store, "is damaged")


def test_database_of_another_program_is_refused(path: Path, open_store: OpenStore) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE decisions (mine TEXT)")
    refused(path, open_store, r"another program\. Give another path")


@pytest.mark.parametrize("pragma", ["user_version = 3", "application_id = 7"])
def test_marks_of_another_program_are_respected(path: Path, open_store: OpenStore, pragma: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA {pragma}")
    refused(path, open_store, "another program")


def test_file_of_a_newer_version_is_refused(path: Path, open_store: OpenStore) -> None:
    fill(open_store())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    refused(path, open_store, rf"newer MixLLM \(schema {SCHEMA_VERSION + 1}.*Upgrade: pip install -U mixllm")


def test_newer_file_that_was_not_closed_is_left_as_it_was(path: Path, open_store: OpenStore) -> None:
    store = open_store()
    store.append_decision(sample_record(1))
    store.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    content, log = path.read_bytes(), path.with_name("mixllm.db-wal").read_bytes()
    store.close()
    path.write_bytes(content)
    path.with_name("mixllm.db-wal").write_bytes(log)
    refused(path, open_store, "newer MixLLM")
    assert path.with_name("mixllm.db-wal").read_bytes() == log


def test_folder_is_refused(tmp_path: Path, open_store: OpenStore) -> None:
    with pytest.raises(StoreError, match=r"it is a folder\. Give the path of a file"):
        open_store(path=tmp_path)


def test_missing_folder_is_named(tmp_path: Path, open_store: OpenStore) -> None:
    with pytest.raises(StoreError, match=r"nowhere.*folder does not exist\. Make the folder"):
        open_store(path=tmp_path / "nowhere" / "mixllm.db")
    assert list(tmp_path.iterdir()) == []


def test_file_that_may_not_be_read_is_named(path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> bytes:  # Not by its mode: tests may run as root, who may read everything.
        raise PermissionError(errno.EACCES, "Permission denied")

    path.touch()
    monkeypatch.setattr("mixllm.store.database._first_bytes", deny)
    with pytest.raises(StoreError, match=r"cannot be read \(Permission denied\)\. Give this user the right"):
        open_store()


def test_file_that_stays_locked_is_named(path: Path, open_store: OpenStore) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"locked\. Close that process, or raise busy_timeout_s"):
            open_store(busy_timeout_s=0.05)


def test_file_names_with_special_characters_work(tmp_path: Path, open_store: OpenStore) -> None:
    for name in ("a b.db", "100%25.db", "what?mode=memory#x.db", "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve.db"):
        fill(open_store(path=tmp_path / name))
        assert open_store(path=tmp_path / name).counts()["decisions"] == 200
        assert (tmp_path / name).exists()


def test_relative_path_works(tmp_path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fill(open_store(path="here.db"))
    assert open_store(path="here.db").counts()["decisions"] == 200
    assert (tmp_path / "here.db").exists()


def test_file_system_without_shared_memory_is_refused(path: Path) -> None:
    # Without locks SQLite has no shared memory, as on some network file systems.
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?vfs=unix-none", uri=True, isolation_level=None)) as connection,
        pytest.raises(StoreError, match=r"no shared memory.*Put the file on a local disk"),
    ):
        _use_wal(connection, path, 0.0)


def test_unknown_error_of_sqlite_still_names_the_file(path: Path) -> None:
    message = str(store_fault(path, sqlite3.OperationalError("something odd")))
    assert message == f"Store {str(path)!r}: SQLite reports an error. Check the disk. (something odd)"
