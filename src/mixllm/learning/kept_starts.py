"""What a start without the store needs: gathered here, kept by the store on this machine."""

from __future__ import annotations

import math
from collections.abc import Callable

from mixllm.interfaces import Clock, StartKeeper, Store
from mixllm.learning.checkpoint import Checkpoint
from mixllm.types import KeptStart, LearnedState, PlacedChange, PoolChange, Spending

__all__ = ["KeptStarts"]


class KeptStarts:
    """Knows what to keep and when: a change of the pool at once, what was learned from time to time. Not thread-safe.

    Parameters
    ----------
    store
        Where it is kept; nothing is where the store is no `StartKeeper`.
    clock
        Time.
    interval_s
        What was learned is kept at most this often.

    Attributes
    ----------
    spending
        Tells what a budget's period has cost; None: there is no budget.
    """

    def __init__(self, *, store: Store, clock: Clock, interval_s: float) -> None:
        self._keeper = store if isinstance(store, StartKeeper) else None
        self._clock = clock
        self._interval_s = interval_s
        self._made: dict[str, PlacedChange] = {}
        self._kept = (-1, -1)
        self._kept_at_s = -math.inf
        self.spending: Callable[[], Spending] | None = None

    def found(self) -> KeptStart | None:
        """Return what was kept, where the store was away when it was opened; None where it is to be read itself."""
        return None if self._keeper is None else self._keeper.kept_start()

    def note(self, placed: PlacedChange) -> None:
        """Take note of a change of the pool that was made: of each LLM the newest is kept."""
        if isinstance(placed.change, PoolChange):
            self._made[placed.change.spec.name] = placed

    def due(self, *, change: int, position: int) -> bool:
        """Return whether it is time to keep what is known at the pool's `change` and at `position`."""
        if self._keeper is None or (change, position) == self._kept:
            return False
        return change != self._kept[0] or self._clock.monotonic_s() - self._kept_at_s >= self._interval_s

    def keep(self, known: Callable[[], Checkpoint], *, change: int) -> None:
        """Have what is `known` kept, and the pool as it is after `change`."""
        if self._keeper is None:
            return
        checkpoint = known()
        state = LearnedState(
            version=checkpoint.version,
            position=checkpoint.position,
            created_at_s=self._clock.time_s(),
            payload=checkpoint.to_bytes(),
        )
        changes = tuple(sorted(self._made.values(), key=lambda placed: placed.number))
        spending = None if self.spending is None else self.spending()
        self._keeper.keep_start(KeptStart(state=state, change=change, changes=changes, spending=spending))
        self._kept = (change, checkpoint.position)
        self._kept_at_s = self._clock.monotonic_s()
