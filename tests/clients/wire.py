"""A server on the loopback device that answers with exactly the bytes a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Request", "WireServer", "http_answer", "open_wire", "say", "silence", "sse_answer"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


Handler: TypeAlias = Callable[[Request, asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request; says whether the connection stays open."""


def http_answer(
    body: bytes, *, status: int = 200, headers: Sequence[str] = ("Content-Type: application/json",)
) -> bytes:
    """Return a whole answer with its Content-Length."""
    head = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def sse_answer(text: bytes, *, whole: bool = True) -> bytes:
    """Return a chunked answer that holds `text` as an event stream; without `whole` its end is missing."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%b\r\n" % (len(text), text) if text else b""
    return head + chunk + (b"0\r\n\r\n" if whole else b"")


def say(answer: bytes, *, keep: bool = True) -> Handler:
    """Return a handler that sends `answer`, and with `keep` leaves the connection open."""

    async def handle(_request: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer)
        await writer.drain()
        return keep

    return handle


def silence(first: bytes = b"") -> Handler:
    """Return a handler that sends `first` and then waits for the client to leave."""

    async def handle(_request: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(first)
        await writer.drain()
        return True

    return handle


@dataclass(slots=True)
class WireServer:
    """Answers one request after the other with its handlers; the last one answers every further request."""

    handlers: list[Handler]
    base_url: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has closed a connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        connection = self.connections
        try:
            while (request := await _read_request(reader, connection)) is not None:
                self.requests.append(request)
                handler = self.handlers.pop(0) if len(self.handlers) > 1 else self.handlers[0]
                if not await handler(request, writer):
                    return
            self.left.set()
        except ConnectionError:
            self.left.set()
        finally:
            writer.close()


@asynccontextmanager
async def open_wire(*handlers: Handler) -> AsyncIterator[WireServer]:
    """Run a server with these handlers."""
    wire = WireServer(list(handlers))
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0, limit=2**24)
    wire.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield wire
    finally:
        server.close()
        await asyncio.sleep(0)


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = first.split(" ")
    return Request(method=method, path=path, headers=headers, body=body, connection=connection)
