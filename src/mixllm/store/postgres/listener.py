"""The thread that hears what others write: notifications wake it at once, and a look now and then misses nothing."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable

import psycopg

from mixllm.errors import StoreError
from mixllm.store.postgres.database import Connection, Database
from mixllm.store.postgres.link import Link
from mixllm.store.postgres.reading import read_ends
from mixllm.store.postgres.watchdog import Watchdog
from mixllm.store.tail import Tail

__all__ = ["Listener"]

_LOOK_S = 0.5
"""How often it asks although nothing was heard: a notification is lost where the connection is."""


class Listener:
    """Follows the ends of the event log and of the pool's changes, and notices when the database comes and goes.

    Parameters
    ----------
    database
        Where to listen.
    tail
        Told of every durable event and change.
    link
        Told whether the database answers.
    watchdog
        Ends waits for a server that does not answer.
    greet
        Called with every new connection, before the link is said to be up; raises `StoreError` where the database is
        not to be used.
    """

    def __init__(
        self, *, database: Database, tail: Tail, link: Link, watchdog: Watchdog, greet: Callable[[Connection], None]
    ) -> None:
        self._database = database
        self._tail = tail
        self._link = link
        self._watchdog = watchdog
        self._greet = greet
        self._closing = threading.Event()
        self._waker, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="mixllm-store-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        self._waker.send(b"x")
        if threading.current_thread() is not self._thread:
            self._thread.join()
            self._woken.close()
            self._waker.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                connection = self._database.connect()
            except StoreError as error:
                self._link.down(error)
                self._closing.wait(_LOOK_S)
                continue
            try:
                with self._watchdog.over(connection):
                    self._greet(connection)
                self._listen(connection)
            except StoreError as error:
                self._link.down(error)
                self._closing.wait(_LOOK_S)
            except psycopg.Error as error:
                self._link.down(self._database.fault(error))
            finally:
                connection.close()

    def _listen(self, connection: Connection) -> None:
        connection.execute(f"LISTEN {self._database.channel}")
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._closing.is_set():
                with self._watchdog.over(connection):
                    seq, change = read_ends(connection)
                self._link.up()
                self._tail.advance(seq, change=change)
                self._wait(connection, selector)

    def _wait(self, connection: Connection, selector: selectors.BaseSelector) -> None:
        """Wait for a notification, or until it is time to look. What it says is not believed: anybody may notify."""
        end_s = time.monotonic() + _LOOK_S
        while (left_s := end_s - time.monotonic()) > 0 and not self._closing.is_set():
            if selector.select(left_s) and any(True for _ in connection.notifies(timeout=0.0)):
                return
