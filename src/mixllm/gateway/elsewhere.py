"""Decisions of one worker or replica that another one is asked about, before the store shows them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from mixllm.errors import StoreError, UnknownDecisionError
from mixllm.gateway.state import GatewayState
from mixllm.interfaces import Store
from mixllm.router import decided_at_s

__all__ = ["kept_while_away", "once_known"]

_T = TypeVar("_T")
_YOUNG_S = 5.0
_PATIENCE_S = 2.0
_PAUSE_S = 0.02


async def once_known(state: GatewayState, decision_id: str, attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Return what `attempt` returns, tried again for a moment where the decision is young and not known yet.

    Who decides commits that with a short delay, and the next request of the same client may reach another process.
    """
    deadline_s = state.router.clock.monotonic_s() + _PATIENCE_S
    while True:
        try:
            return await attempt()
        except UnknownDecisionError:
            if state.router.clock.monotonic_s() > deadline_s:
                raise
            made_s = decided_at_s(decision_id)
            if made_s is None or abs(state.router.clock.time_s() - made_s) > _YOUNG_S:
                raise
        await asyncio.sleep(_PAUSE_S)


async def kept_while_away(store: Store) -> None:
    """While the store cannot be reached, return when what was decided is on the local disk.

    Other replicas accept feedback unchecked then: it must not be on a decision that a killed process has taken with it.
    """
    if store.health().problem is not None:
        with suppress(StoreError):  # Where it cannot be kept, no feedback can be either.
            await asyncio.to_thread(store.flush)
