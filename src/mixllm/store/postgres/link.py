"""Whether the database answers, as every thread of a store last saw it."""

from __future__ import annotations

import logging
import threading

from mixllm.errors import StoreError

__all__ = ["Link"]

_LOG = logging.getLogger("mixllm.store")


class Link:
    """Up or down, with the reason; each change is logged once.

    Parameters
    ----------
    place
        What the database is called.
    problem
        What is wrong at the beginning; None where it answers.
    """

    def __init__(self, *, place: str, problem: str | None = None) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._problem = problem

    @property
    def problem(self) -> str | None:
        """What is wrong; None while the database answers."""
        return self._problem

    def up(self) -> None:
        """Say that it answers."""
        with self._lock:
            if self._problem is not None:
                self._problem = None
                _LOG.warning("Store %s answers again", self._place)

    def down(self, error: StoreError) -> None:
        """Say that it does not, or may not be used."""
        with self._lock:
            if self._problem is None:
                _LOG.error("%s", error)
            self._problem = str(error)

    def refuse_down(self) -> None:
        """Raise `StoreError` while the database does not answer, so that nobody waits for it."""
        problem = self._problem
        if problem is not None:
            raise StoreError(problem)
