"""An upstream that answers at once, with as little work as Python can do: the same for every gateway.

``python -m benchmarks.serving.stub PORT``; a body with ``"stream": true`` gets 20 chunks, any other a whole answer.
Where the body also holds the word of `SLOWLY`, three seconds pass before each chunk.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import cast

import uvloop

SLOWLY = b"s-l-o-w-l-y"
SLOW_STEP_S = 3.0
_CHUNKS = 20
_HEAD = b"HTTP/1.1 200 OK\r\n"


def _answer() -> bytes:
    body = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "stub",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "The answer is 84."}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 40, "completion_tokens": 8, "total_tokens": 48},
        }
    ).encode()
    return _HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _stream() -> list[bytes]:
    def event(fields: dict[str, object]) -> bytes:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "stub", **fields}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    def chunked(data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data)

    parts = [
        event({"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}) for _ in range(_CHUNKS)
    ]
    parts.append(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    parts.append(
        event({"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": _CHUNKS, "total_tokens": 60}})
    )
    parts.append(b"data: [DONE]\n\n")
    head = _HEAD + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head + chunked(parts[0]), *(chunked(part) for part in parts[1:-1]), chunked(parts[-1]) + b"0\r\n\r\n"]


ANSWER = _answer()
STREAM = _stream()
"""Head and first chunk, further chunks, the last one and the end."""
_WHOLE_STREAM = b"".join(STREAM)


class Connection(asyncio.Protocol):
    """Reads requests off one connection and answers each."""

    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none of its subclasses

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            length = 0
            for line in self._data[:end].split(b"\r\n"):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(self._data) < end + 4 + length:
                return
            body, self._data = self._data[end + 4 : end + 4 + length], self._data[end + 4 + length :]
            self.answer(body)

    def answer(self, body: bytes) -> None:
        """Answer one request."""
        if not is_streamed(body):
            self.transport.write(ANSWER)
        elif SLOWLY in body:
            self.write_slowly(0)
        else:
            self.transport.write(_WHOLE_STREAM)

    def write_slowly(self, place: int) -> None:
        """Write the parts of a stream from `place` on, with pauses."""
        if place < len(STREAM) and not self.transport.is_closing():
            self.transport.write(STREAM[place])
            asyncio.get_running_loop().call_later(SLOW_STEP_S, self.write_slowly, place + 1)


def is_streamed(body: bytes) -> bool:
    """Whether a request asks for a stream."""
    return b'"stream":true' in body or b'"stream": true' in body


async def serve(connection: Callable[[], Connection], port: int) -> None:
    """Serve until cancelled."""
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Connection, int(sys.argv[1])))
