"""Connections for reading, lent to whichever thread asks; the writer is never waited for."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixllm.errors import StoreClosedError
from mixllm.store.database import SQLITE_FAULTS, open_reader, store_fault

__all__ = ["Readers"]

_KEPT = 4


class Readers:
    """A pool of reading connections; it grows with the number of threads that read at once.

    Parameters
    ----------
    path
        The database, which exists.
    busy_timeout_s
        How long a read waits where the file is locked as a whole.
    """

    def __init__(self, *, path: Path, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection; raises `StoreClosedError`, and `StoreError` in place of SQLite's errors."""
        with self._lock:
            if self._closed:
                raise StoreClosedError
            connection = self._idle.pop() if self._idle else None
        try:
            if connection is None:
                connection = open_reader(self._path, busy_timeout_s=self._busy_timeout_s)
            yield connection
        except SQLITE_FAULTS as error:
            raise store_fault(self._path, error) from error
        finally:
            if connection is not None:
                self._take_back(connection)

    def close(self) -> None:
        """Close the idle connections now, and the lent ones when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            keep = not self._closed and len(self._idle) < _KEPT
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()
