"""Changes of the pool that other workers make."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from types import TracebackType
from typing import Self

from mixllm.errors import MixLLMError
from mixllm.router import RouterCore
from mixllm.units import positive

__all__ = ["PoolFollower"]

_LOG = logging.getLogger(__name__)


class PoolFollower:
    """Makes the changes that others on the same store make to the pool, while the context is open.

    Parameters
    ----------
    router
        Whose pool it is.
    interval_s
        How often it looks.
    """

    def __init__(self, router: RouterCore, *, interval_s: float = 0.5) -> None:
        self.router = router
        self.interval_s = positive("interval_s", interval_s)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(self.interval_s)
            try:
                await asyncio.to_thread(self.router.follow)
                failing = False
            except MixLLMError as error:
                if not failing:
                    _LOG.error("changes of the pool by other workers are not followed for now: %s", error)
                failing = True
