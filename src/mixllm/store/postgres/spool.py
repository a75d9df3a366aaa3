"""Where facts wait while the database is away: a file on the local disk, shipped in order when it is back."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

import msgspec

from mixllm.errors import StoreError
from mixllm.store.postgres.facts import FeedbackFact, WrittenFact, decode_fact, encode_fact
from mixllm.store.rows import feedback_from_body, same_judgement

__all__ = ["Kept", "Spool"]

_LOG = logging.getLogger("mixllm.store")

_SUFFIX = ".spool"

_TABLE = """
CREATE TABLE IF NOT EXISTS facts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    decision_id TEXT NOT NULL,
    feedback_id TEXT UNIQUE,
    body BLOB NOT NULL
)
"""
_WAITING = """
CREATE TABLE IF NOT EXISTS waiting (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    since_s REAL NOT NULL,
    body BLOB NOT NULL
)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS facts_by_decision ON facts (decision_id)"
_INSERT = """
INSERT INTO facts (decision_id, feedback_id, body) VALUES (?, ?, ?) ON CONFLICT (feedback_id) DO NOTHING
"""
_COUNT_FACTS = "SELECT count(*), coalesce(sum(length(body)), 0) FROM facts"
_COUNT_WAITING = "SELECT count(*), coalesce(sum(length(body)), 0) FROM waiting"
_ALL = ("SELECT body FROM facts ORDER BY number", "SELECT body FROM waiting ORDER BY number")


class Kept(Enum):
    """What became of a fact."""

    NEW = "new"
    REPEATED = "repeated"
    CONFLICT = "another judgement has its id"
    FULL = "no room"


class Spool:
    """A bounded first-in-first-out file of facts; safe to call from any thread.

    Each process has a file of its own in the folder, made when it is first needed and removed when it is empty. Files
    that a killed process has left there are taken over.

    Beside the queue there are facts that wait for others: feedback on a decision that is still in another spool.

    Parameters
    ----------
    folder
        Where the files are; None keeps the facts in memory, where they are lost with the process.
    max_bytes
        Most bytes that are held.

    Raises
    ------
    StoreError
        Where the folder cannot be made or written.
    """

    def __init__(self, *, folder: Path | None, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._file: sqlite3.Connection | None = None
        self._held = self._held_bytes = self._waiting = 0
        if folder is not None:
            _check_folder(folder)

    @property
    def durable(self) -> bool:
        """Whether what is held survives the process."""
        return self._folder is not None

    @property
    def held(self) -> int:
        """How many facts are held."""
        return self._held

    @property
    def held_bytes(self) -> int:
        """Their bytes, and those of the ones that wait."""
        return self._held_bytes

    @property
    def waiting(self) -> int:
        """How many facts wait for others, beside those that are held."""
        return self._waiting

    def append(self, facts: Iterable[WrittenFact]) -> list[Kept]:
        """Keep `facts` at the end; return what became of each when they are on the disk.

        Raises
        ------
        sqlite3.Error, OSError
            Where the file cannot be written; none of them is kept then.
        """
        with self._lock:
            file = self._opened()
            held, held_bytes = self._held, self._held_bytes
            file.execute("BEGIN")
            try:
                kept = [self._put(file, fact) for fact in facts]
                file.execute("COMMIT")
            except BaseException:
                self._held, self._held_bytes = held, held_bytes
                if file.in_transaction:
                    file.execute("ROLLBACK")
                raise
            return kept

    def read(self, limit: int) -> tuple[int, list[WrittenFact]]:
        """Return the oldest facts, at most `limit`, and the number of the last of them for `remove`."""
        with self._lock:
            if self._file is None:
                return 0, []
            rows = self._file.execute("SELECT number, body FROM facts ORDER BY number LIMIT ?", (limit,)).fetchall()
            return (rows[-1][0] if rows else 0), [decode_fact(body) for _, body in rows]

    def remove(self, through: int, *, set_aside: Iterable[WrittenFact] = (), now_s: float = 0.0) -> None:
        """Forget the facts up to the number `through`, which are in the database, but let those of `set_aside` wait."""
        with self._lock:
            if self._file is None:
                return
            self._file.execute("BEGIN")
            self._file.execute("DELETE FROM facts WHERE number <= ?", (through,))
            rows = [(now_s, encode_fact(fact)) for fact in set_aside]
            self._file.executemany("INSERT INTO waiting (since_s, body) VALUES (?, ?)", rows)
            self._file.execute("COMMIT")
            self._count()

    def read_waiting(self, after: int, limit: int) -> list[tuple[int, float, WrittenFact]]:
        """Return facts that wait, after the number `after`, at most `limit`: number, since when, and fact."""
        with self._lock:
            if self._file is None:
                return []
            query = "SELECT number, since_s, body FROM waiting WHERE number > ? ORDER BY number LIMIT ?"
            rows = self._file.execute(query, (after, limit)).fetchall()
            return [(number, since_s, decode_fact(body)) for number, since_s, body in rows]

    def remove_waiting(self, numbers: Iterable[int]) -> None:
        """Forget facts that wait."""
        with self._lock:
            if self._file is None:
                return
            self._file.executemany("DELETE FROM waiting WHERE number = ?", [(number,) for number in numbers])
            self._count()

    def facts_of(self, decision_id: str) -> Sequence[WrittenFact]:
        """Return what is held of a decision, in order."""
        with self._lock:
            if self._file is None:
                return ()
            query = "SELECT body FROM facts WHERE decision_id = ? ORDER BY number"
            return [decode_fact(body) for (body,) in self._file.execute(query, (decision_id,)).fetchall()]

    def adopt(self) -> int:
        """Take over the files that killed processes have left in the folder; return how many facts they held."""
        if self._folder is None or not self._folder.is_dir():
            return 0
        adopted = 0
        paths = [path for path in self._folder.glob(f"*{_SUFFIX}") if path != self._path]
        for path in sorted(paths, key=_modified_s):
            try:
                adopted += self._take_over(path)
            except (sqlite3.Error, msgspec.MsgspecError, OSError) as error:
                _LOG.error("Spool %r cannot be read and is left as it is: %s", str(path), error)
        return adopted

    def close(self) -> None:
        """Close the file; what is held stays in it."""
        with self._lock:
            if self._file is not None and not self._held and not self._waiting:
                self._discard()
            elif self._file is not None:
                self._file.close()
                self._file = None

    def _put(self, file: sqlite3.Connection, fact: WrittenFact) -> Kept:
        body = encode_fact(fact)
        if self._held_bytes + len(body) > self._max_bytes:
            return Kept.FULL
        feedback_id = fact.event_id if isinstance(fact, FeedbackFact) else None
        if file.execute(_INSERT, (fact.decision_id, feedback_id, body)).rowcount:
            self._held += 1
            self._held_bytes += len(body)
            return Kept.NEW
        (known,) = file.execute("SELECT body FROM facts WHERE feedback_id = ?", (feedback_id,)).fetchone()
        before = decode_fact(known)
        assert isinstance(fact, FeedbackFact)
        same = same_judgement(feedback_from_body(before.body), feedback_from_body(fact.body))
        return Kept.REPEATED if same else Kept.CONFLICT

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            if self._folder is None:
                self._file = _open(":memory:")
            else:
                self._folder.mkdir(exist_ok=True)
                self._path = self._folder / f"{uuid.uuid4().hex}{_SUFFIX}"
                self._file = _open(self._path)
        return self._file

    def _take_over(self, path: Path) -> int:
        try:
            file = _open(path)
        except sqlite3.OperationalError:
            return 0  # Another process, which is alive, holds it.
        try:
            bodies = [body for query in _ALL for (body,) in file.execute(query).fetchall()]
            if self._held_bytes + sum(map(len, bodies)) > self._max_bytes:
                _LOG.warning("Spool %r does not fit into this process's and is left until it does", str(path))
                return 0
            if bodies:
                self.append([decode_fact(body) for body in bodies])
                file.execute("DELETE FROM facts")  # From here on they are this process's.
                file.execute("DELETE FROM waiting")
        finally:
            file.close()
        _remove(path)
        return len(bodies)

    def _count(self) -> None:
        """Count anew what is there, and remove the file where that is nothing."""
        assert self._file is not None
        self._held, held_bytes = self._file.execute(_COUNT_FACTS).fetchone()
        self._waiting, waiting_bytes = self._file.execute(_COUNT_WAITING).fetchone()
        self._held_bytes = held_bytes + waiting_bytes
        if not self._held and not self._waiting:
            self._discard()

    def _discard(self) -> None:
        assert self._file is not None
        self._file.close()
        self._file = None
        if self._path is not None:
            _remove(self._path)
            self._path = None


def _open(path: Path | str) -> sqlite3.Connection:
    """Open a file for this process alone; raises `sqlite3.OperationalError` where another process has it."""
    file = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
    try:
        file.execute("PRAGMA locking_mode = EXCLUSIVE")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = FULL")
        file.execute("BEGIN IMMEDIATE")
        file.execute(_TABLE)
        file.execute(_INDEX)
        file.execute(_WAITING)
        file.execute("COMMIT")
    except BaseException:
        file.close()
        raise
    return file


def _check_folder(folder: Path) -> None:
    place = folder if folder.exists() else folder.absolute().parent
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"Spool {str(folder)!r} is no folder. Give store.spool the path of a folder.")
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise StoreError(
            f"Spool {str(folder)!r} cannot be made or written. Make the folder and give this user the right to write "
            "it, or set another store.spool."
        )


def _modified_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0  # Its process has removed it meanwhile.


def _remove(path: Path) -> None:
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-journal")):
        with suppress(FileNotFoundError):
            name.unlink()
