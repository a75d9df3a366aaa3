"""Clients that go away while they wait for an answer."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

__all__ = ["ClientLeftError", "LeaveWatch"]

_PATIENCE_S = 0.02
"""Calls that are over before this pay for a timer alone; asking whether the client is still there takes a task."""

_DISCONNECT = "http.disconnect"


class ClientLeftError(Exception):
    """The client went away before its answer."""


class LeaveWatch:
    """Cancels the block that it surrounds when the client goes away, and then raises `ClientLeftError`.

    An ASGI server tells that a client went away only to those who ask, and Starlette asks only while it streams.
    A client that left before the watch began is noticed as well.

    Parameters
    ----------
    receive
        The request's ``receive``, its body read to the end.
    """

    __slots__ = ("_asking", "_cancelling", "_left", "_receive", "_task", "_timer")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._asking: asyncio.Task[None] | None = None
        self._left = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("LeaveWatch needs a task to cancel")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
            # Its error leads back here: kept, it would be a circle that only a full collection finds.
            self._asking = None
        # As asyncio.timeout does it: a cancellation from elsewhere, such as a shutdown, goes on as one.
        if self._left and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientLeftError from error

    def _ask(self) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._until_left())

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != _DISCONNECT:
            pass
        self._left = True
        self._task.cancel()
