"""Time: the system's, and a clock that tests and simulations set."""

from __future__ import annotations

import time

from mixllm.units import finite, non_negative

__all__ = ["ManualClock", "SystemClock"]


class SystemClock:
    """The machine's own time."""

    def time_s(self) -> float:
        """Return the Unix time in seconds."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return seconds from an arbitrary start that never go back."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved.

    Parameters
    ----------
    start_s
        Unix time at which it stands.

    Examples
    --------
    >>> clock = ManualClock(start_s=100.0)
    >>> clock.advance(2.5)
    >>> clock.time_s()
    102.5
    """

    def __init__(self, *, start_s: float = 0.0) -> None:
        self.start_s = finite("start_s", start_s)
        self._elapsed_s = 0.0

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._elapsed_s += non_negative("seconds", seconds)

    def time_s(self) -> float:
        """Return the Unix time in seconds."""
        return self.start_s + self._elapsed_s

    def monotonic_s(self) -> float:
        """Return seconds since the clock was made."""
        return self._elapsed_s
