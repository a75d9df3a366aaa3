"""The client's side of one request: waiting until it leaves, and cutting it off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

__all__ = ["TRANSPORT_EXTENSION", "Connection", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TRANSPORT_EXTENSION = "mixllm.transport"
"""ASGI has no way to cut a connection; the project's own server leaves the transport in the scope's extensions."""


class Connection:
    """One request's connection.

    Parameters
    ----------
    scope, receive, send
        As ASGI gives them.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._leaving: asyncio.Task[None] | None = None

    async def body(self) -> bytes | None:
        """Return the request's body; None where the client left before its end."""
        parts = []
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def wait(self, seconds: float | None) -> bool:
        """Wait, with None for ever; return True at once where the client leaves."""
        if seconds is not None and seconds <= 0:
            return self._leaving is not None and self._leaving.done()
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self._until_left())
        done, _ = await asyncio.wait({self._leaving}, timeout=seconds)
        return bool(done)

    async def answer(self, status: int, body: bytes, *headers: tuple[bytes, bytes], json: bool = True) -> None:
        """Send a whole answer."""
        kind = b"application/json" if json else b"text/plain; charset=utf-8"
        lines = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})
        await self._send({"type": "http.response.body", "body": body})

    async def begin_stream(self) -> None:
        """Send the head of an event stream."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def send_part(self, part: bytes, *, more: bool = True) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": part, "more_body": more})

    async def begin_cut_answer(self, body: bytes) -> None:
        """Send a head that promises `body`, and half of it."""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.send_part(body[: len(body) // 2])

    async def cut(self) -> None:
        """Close the connection after what has been sent; another server than the project's own ends it its own way."""
        extension = self._scope.get("extensions", {}).get(TRANSPORT_EXTENSION)
        if extension is not None:
            extension["transport"].close()
            await self.wait(1.0)

    def done(self) -> None:
        """Stop waiting for the client to leave."""
        if self._leaving is not None:
            self._leaving.cancel()

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
