"""An upstream that answers at once, with as little work as Python can do: the same for every gateway.

``python -m benchmarks.serving.stub PORT``; a body with ``"stream": true`` gets 20 chunks, any other a whole answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

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


def _stream() -> bytes:
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
    return head + b"".join(chunked(part) for part in parts) + b"0\r\n\r\n"


_ANSWER, _STREAM = _answer(), _stream()


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of its subclasses

    def data_received(self, data: bytes) -> None:
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
            streamed = b'"stream":true' in body or b'"stream": true' in body
            self._transport.write(_STREAM if streamed else _ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
