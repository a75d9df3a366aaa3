"""Opening the file: what it must be, how it is set up, and what SQLite's errors mean to the user."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from mixllm.errors import StoreError
from mixllm.store.migrations import APPLICATION_ID, SCHEMA_VERSION, migrate

__all__ = ["SQLITE_FAULTS", "open_reader", "open_writer", "store_fault"]

_MAGIC = b"SQLite format 3\0"
_CHECKED_WHOLE_BYTES = 32 * 1024 * 1024
"""Files up to this size are checked page by page when opened, which takes a fraction of a second."""
_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_CHECKPOINT_PAGES = 4000
"""How long the log grows before it is worked into the file: 16 MB; a checkpoint costs two waits for the disk."""
_RETRY_S = 0.02

_MEANINGS = {
    sqlite3.SQLITE_BUSY: "another process holds it locked. Close that process, or raise busy_timeout_s.",
    sqlite3.SQLITE_LOCKED: "another connection holds it locked. Close that connection, or raise busy_timeout_s.",
    sqlite3.SQLITE_FULL: "the disk is full. Free space on it; the store goes on by itself.",
    sqlite3.SQLITE_READONLY: "it may not be written. Give this user the right to write the file and its folder.",
    sqlite3.SQLITE_PERM: "it may not be opened. Give this user the right to read and write the file and its folder.",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Give this user the right to write the file and its folder.",
    sqlite3.SQLITE_IOERR: "the disk failed to read or to write. Check the disk and the mount.",
    sqlite3.SQLITE_CORRUPT: "the file is damaged. Move it aside and restore a copy, or give another path.",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database. Give another path, or move the file aside.",
}


SQLITE_FAULTS = (sqlite3.Error, UnicodeDecodeError)
"""What calls of SQLite raise: its words on a damaged file quote it, and Python cannot decode all that it then says."""


def store_fault(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
    """Return what `error` means to the user: the file, what is wrong with it and the next step."""
    if isinstance(error, UnicodeDecodeError):
        return StoreError(f"Store {str(path)!r}: {_MEANINGS[sqlite3.SQLITE_CORRUPT]}")
    code = getattr(error, "sqlite_errorcode", None)
    meaning = None if code is None else _MEANINGS.get(code & 0xFF)
    return StoreError(f"Store {str(path)!r}: {meaning or 'SQLite reports an error. Check the disk.'} ({error})")


def open_writer(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """Open the file for writing, make it where it is missing and bring its schema up to date.

    Raises
    ------
    StoreError
        Where the file cannot be used; it is then left as it was.
    """
    _refuse_unfit(path)
    try:
        connection = _connect(path, busy_timeout_s)
        try:
            _set_up(connection, path, busy_timeout_s)
        except BaseException:
            connection.close()
            raise
    except SQLITE_FAULTS as error:
        raise store_fault(path, error) from error
    return connection


def open_reader(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """Open the file, which exists, for reading only."""
    connection = _connect(path, busy_timeout_s)
    try:
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    # Connections are handed from thread to thread, one at a time.
    return sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)


def _set_up(connection: sqlite3.Connection, path: Path, busy_timeout_s: float) -> None:
    _refuse_foreign(connection, path)
    _use_wal(connection, path, busy_timeout_s)
    # FULL: a commit is on the disk when it returns, so that it also survives a power loss.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    migrate(connection)


def _refuse_unfit(path: Path) -> None:
    """Look at the file without writing to it, so that a file which is no store stays as it is."""
    try:
        if path.is_dir():
            raise StoreError(f"Store {str(path)!r}: it is a folder. Give the path of a file in it.")
        if not path.parent.is_dir():
            raise StoreError(f"Store {str(path)!r}: its folder does not exist. Make the folder, or give another path.")
        magic = _first_bytes(path) if path.exists() else b""
    except OSError as error:
        raise StoreError(
            f"Store {str(path)!r}: it cannot be read ({error.strerror}). Give this user the right to read it."
        ) from error
    if not magic:
        return
    if magic != _MAGIC:
        raise StoreError(f"Store {str(path)!r}: {_MEANINGS[sqlite3.SQLITE_NOTADB]}")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as probe:
            _refuse_foreign(probe, path)
            if path.stat().st_size <= _CHECKED_WHOLE_BYTES:
                _refuse_damaged(probe, path)
    except sqlite3.OperationalError:
        return  # Not to be read without writing (a journal to roll back); opening it for writing says what is wrong.
    except SQLITE_FAULTS as error:
        raise store_fault(path, error) from error


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_MAGIC))


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN")  # One snapshot: another process may be making the tables.
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.execute("COMMIT")
    if application != APPLICATION_ID and (version or application or tables):
        raise StoreError(f"Store {str(path)!r}: it is a database of another program. Give another path.")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"Store {str(path)!r}: it was written by a newer MixLLM (schema {version}, this one knows "
            f"{SCHEMA_VERSION}). Upgrade: pip install -U mixllm. Or give another path."
        )


def _refuse_damaged(connection: sqlite3.Connection, path: Path) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StoreError(f"Store {str(path)!r}: {_MEANINGS[sqlite3.SQLITE_CORRUPT]} ({verdict})")


def _use_wal(connection: sqlite3.Connection, path: Path, busy_timeout_s: float) -> None:
    """Switch to the write-ahead log, with which readers never wait for the writer."""
    deadline_s = time.monotonic() + busy_timeout_s
    mode = None
    while mode is None:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            # SQLite does not wait here where two processes switch a new file at once.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline_s:
                raise
            time.sleep(_RETRY_S)
    if mode != "wal":
        raise StoreError(
            f"Store {str(path)!r}: its file system has no shared memory, which the write-ahead log needs. "
            "Put the file on a local disk."
        )
