"""Ends waits for a server that has stopped answering without closing the connection."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from mixllm.store.postgres.database import Connection

__all__ = ["Watchdog"]


class Watchdog:
    """Cuts connections whose question stays without an answer; who waits for it gets psycopg's error.

    Parameters
    ----------
    limit_s
        How long an answer may take.
    """

    def __init__(self, *, limit_s: float) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._watched: dict[Connection, float] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mixllm-store-watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def over(self, connection: Connection) -> Iterator[None]:
        """Watch over `connection` in the block."""
        with self._lock:
            self._watched[connection] = time.monotonic() + self._limit_s
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(connection, None)

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.wait(self._limit_s / 4):
            now_s = time.monotonic()
            with self._lock:
                for connection, end_s in self._watched.items():
                    if now_s > end_s:
                        _cut(connection)


def _cut(connection: Connection) -> None:
    """Close the connection for both directions below psycopg, which waits on it in another thread."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as raw:
        raw.shutdown(socket.SHUT_RDWR)
