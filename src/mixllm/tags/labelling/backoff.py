"""Waits after failures, shared by all calls: an endpoint that refuses one of them is overloaded for the others too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from mixllm.interfaces import Clock
from mixllm.units import positive

__all__ = ["Backoff", "Sleep"]

Sleep: TypeAlias = Callable[[float], Awaitable[object]]
"""Waits some seconds, as `asyncio.sleep`."""

_INSTANT_S = 1e-6
_GLANCE_S = 1.0


class Backoff:
    """The moment before which no call starts.

    Parameters
    ----------
    first_s, longest_s
        The wait after a failure; it doubles with each further one, up to the longest.
    clock, sleep
        Time, and how to wait in it.
    """

    def __init__(self, *, first_s: float, longest_s: float, clock: Clock, sleep: Sleep) -> None:
        self.first_s = positive("first_s", first_s)
        self.longest_s = positive("longest_s", longest_s)
        self.clock = clock
        self.sleep = sleep
        self._until_s = clock.monotonic_s()

    async def wait(self, *, unless: Callable[[], bool]) -> None:
        """Return when calls may start, or soon after `unless` has become true."""
        while (rest_s := self._until_s - self.clock.monotonic_s()) > _INSTANT_S and not unless():
            await self.sleep(min(rest_s, _GLANCE_S))

    def failed(self, *, failures: int, asked_s: float | None = None) -> None:
        """Put the moment off after the given number of failures in a row, and at least by what the endpoint asks."""
        delay_s = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 60))
        self._until_s = max(self._until_s, self.clock.monotonic_s() + max(delay_s, asked_s or 0.0))
