"""Money: what was spent, what calls under way may still cost, and the cap that both together stay below."""

from __future__ import annotations

import asyncio

from mixllm.units import non_negative

__all__ = ["Spending"]

_ROUNDING = 1e-9


class Spending:
    """The account of one job, for one event loop.

    Parameters
    ----------
    cap_usd
        What spent and reserved money together never exceed; None: no cap.
    spent_usd
        What was spent before.

    Examples
    --------
    >>> async def two_calls() -> list[bool]:
    ...     account = Spending(cap_usd=1.0)
    ...     first = await account.reserve(0.7)
    ...     account.settle(0.7, spent_usd=0.5)
    ...     return [first, await account.reserve(0.7)]
    >>> asyncio.run(two_calls())
    [True, False]
    """

    def __init__(self, *, cap_usd: float | None = None, spent_usd: float = 0.0) -> None:
        self.cap_usd = None if cap_usd is None else non_negative("cap_usd", cap_usd)
        self.spent_usd = non_negative("spent_usd", spent_usd)
        self._reserved_usd = 0.0
        self._under_way = 0
        self._changed = asyncio.Event()

    async def reserve(self, most_usd: float) -> bool:
        """Set aside the most that a call can cost; False where the cap does not leave that much.

        While other calls are under way it waits for them: they may cost less than what is set aside for them.
        """
        while not self._fits(most_usd):
            if self._under_way == 0:
                return False
            await self._changed.wait()
        self._reserved_usd += most_usd
        self._under_way += 1
        return True

    def settle(self, reserved_usd: float, *, spent_usd: float) -> None:
        """Release what was set aside for a call, and count what it did cost."""
        self._under_way -= 1
        # Without a call under way nothing is reserved, whatever the rounding says.
        self._reserved_usd = self._reserved_usd - reserved_usd if self._under_way else 0.0
        self.spent_usd += spent_usd
        self._changed.set()
        self._changed = asyncio.Event()

    def _fits(self, most_usd: float) -> bool:
        if self.cap_usd is None:
            return True
        return self.spent_usd + self._reserved_usd + most_usd <= self.cap_usd + _ROUNDING
