"""Connections for reading, lent to whichever thread asks.

Not psycopg's own pool: that one waits, in steps that grow to a minute, before it tries again to reach a server that was
away, and lets every reader wait meanwhile. Here a read that finds no server fails at once, and the next read tries
again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import psycopg

from mixllm.errors import StoreClosedError
from mixllm.store.postgres.database import Connection, Database, is_lost

__all__ = ["Readers"]

_T = TypeVar("_T")

_KEPT = 4


class Readers:
    """A pool of reading connections.

    Parameters
    ----------
    database
        Where they lead.
    most
        Most connections at a time; who asks for one more waits.
    """

    def __init__(self, *, database: Database, most: int) -> None:
        self._database = database
        self._places = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False

    def read(self, question: Callable[[Connection], _T]) -> _T:
        """Return what `question` returns; raises `StoreClosedError`, and `StoreError` in place of psycopg's errors.

        A connection that was lost while nobody used it, as after a restart of the server, is replaced once.
        """
        with self._places:
            while True:
                connection, used = self._take()
                try:
                    answer = question(connection)
                except psycopg.Error as error:
                    lost = is_lost(connection)
                    connection.close()
                    if not (lost and used):
                        raise self._database.fault(error) from error
                    self._forget_idle()
                except BaseException:
                    connection.close()
                    raise
                else:
                    self._take_back(connection)
                    return answer

    def close(self) -> None:
        """Close the idle connections now, and the lent ones when they come back."""
        with self._lock:
            self._closed = True
        self._forget_idle()

    def refuse_closed(self) -> None:
        """Raise `StoreClosedError` when closed."""
        if self._closed:
            raise StoreClosedError

    def _take(self) -> tuple[Connection, bool]:
        with self._lock:
            self.refuse_closed()
            if self._idle:
                return self._idle.pop(), True
        return self._database.connect(), False

    def _take_back(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _forget_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
