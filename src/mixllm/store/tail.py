"""The end of the log of events: wakes those who wait for the next one."""

from __future__ import annotations

import threading
import time

__all__ = ["Tail"]


class Tail:
    """The newest durable `seq` and change of the pool, with a way to wait for newer ones.

    Parameters
    ----------
    last_seq
        The newest `seq` that is durable already; 0 where there is none.
    last_change
        The number of the newest change of the pool; 0 where there is none.

    Examples
    --------
    >>> tail = Tail(last_seq=0)
    >>> tail.wait(0, timeout_s=0.0)
    False
    >>> tail.advance(3)
    >>> tail.wait(2, timeout_s=0.0), tail.wait(3, timeout_s=0.0)
    (True, False)
    >>> tail.advance(0, change=7)
    >>> tail.wait(3, change=6, timeout_s=0.0), tail.wait(3, change=7, timeout_s=0.0)
    (True, False)
    """

    def __init__(self, *, last_seq: int, last_change: int = 0) -> None:
        self._changed = threading.Condition()
        self._last_seq = last_seq
        self._last_change = last_change
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def advance(self, seq: int, *, change: int = 0) -> None:
        """Say that events up to `seq` and changes of the pool up to `change` are durable."""
        with self._changed:
            if seq > self._last_seq or change > self._last_change:
                self._last_seq = max(seq, self._last_seq)
                self._last_change = max(change, self._last_change)
                self._changed.notify_all()

    def wait(self, seq: int, *, timeout_s: float, change: int | None = None) -> bool:
        """Return True as soon as an event after `seq` is durable; False after `timeout_s`, or when closed.

        With `change`, also as soon as a change of the pool after that number is.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while self._last_seq <= seq and (change is None or self._last_change <= change):
                remaining_s = deadline_s - time.monotonic()
                if self._closed or remaining_s <= 0:
                    return False
                self._changed.wait(min(remaining_s, threading.TIMEOUT_MAX))
            return True

    def close(self) -> None:
        """Wake every waiter; later waits do not wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
