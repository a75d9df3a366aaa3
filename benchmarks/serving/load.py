"""A load generator that costs little: kept connections, prepared requests, no HTTP library.

``python -m benchmarks.serving.load PORT CONNECTIONS SECONDS [RATE] [--stream] [--model NAME] [--feedback SHARE]``
prints one JSON object. Without a rate each connection asks again as soon as it has its answer (closed loop:
saturation); with one, requests start on a fixed schedule whatever the answers do (open loop), on connections that are
free. After a share of the answers a thumb is sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from typing import cast

import numpy as np
import uvloop

_PROMPTS = 997
_LAST_ANSWERS_S = 10.0
"""How long answers are waited for at the end."""
_TEXT = """
what is the derivative of a function that maps time to distance explain step by step which city has largest population
write python code sorting list numbers proof theorem history of roman empire cell membrane protein
"""


class _Connection(asyncio.Protocol):
    """One kept connection: sends a request, calls back with its status when its answer is whole."""

    def __init__(self, on_answer: Callable[[_Connection, int], None]) -> None:
        self.on_answer = on_answer
        self.sent_s = 0.0
        self.head = self.body = b""
        self._parts: list[bytes] = []
        self._missing = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none of its subclasses

    def connection_lost(self, error: Exception | None) -> None:
        del error
        if self._missing != -1 or self._parts:
            self.on_answer(self, 0)

    def send(self, request: bytes) -> None:
        self.sent_s = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        if self._missing > len(data):
            self._missing -= len(data)
            return
        whole = b"".join(self._parts)
        end = whole.find(b"\r\n\r\n")
        if end < 0:
            return
        head = whole[:end].lower()
        place = head.find(b"content-length:")
        if place >= 0:
            length = int(head[place + 15 :].split(b"\r\n", 1)[0])
            self._missing = end + 4 + length - len(whole)
            if self._missing > 0:
                return
        elif not whole.endswith(b"0\r\n\r\n"):
            self._parts = [whole]
            return
        self._parts.clear()
        self._missing = -1
        self.head, self.body = head, whole[end + 4 :]
        self.on_answer(self, int(whole[9:12]))


def _requests(port: int, model: str, *, stream: bool) -> list[bytes]:
    rng = np.random.default_rng(0)
    words = _TEXT.split()
    made = []
    for _ in range(_PROMPTS):
        prompt = " ".join(rng.choice(words, 35))
        fields = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}
        body = json.dumps(fields).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer sk-bench\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def _thumb(port: int, answer_head: bytes) -> bytes:
    """Return the request that judges the answer with this head."""
    inference_id = answer_head.split(b"x-mixllm-inference-id:", 1)[1].split(b"\r\n", 1)[0].strip()
    body = b'{"inference_id": "%s", "value": true}' % inference_id
    return (
        b"POST /v1/feedback HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer sk-bench\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    ) % (port, len(body)) + body


async def _run(arguments: argparse.Namespace) -> dict[str, object]:  # noqa: C901 - its parts share every name
    requests = _requests(arguments.port, arguments.model, stream=arguments.stream)
    loop = asyncio.get_running_loop()
    times_s: list[float] = []
    statuses: dict[int, int] = {}
    feedback: dict[int, int] = {}
    errors: dict[str, float] = {}
    judging: set[_Connection] = set()
    rng = np.random.default_rng(1)
    sent = 0
    free: deque[_Connection] = deque()
    late: deque[float] = deque()
    ends_s = time.perf_counter() + arguments.seconds

    def next_request() -> bytes:
        nonlocal sent
        sent += 1
        return requests[sent % _PROMPTS]

    def on_answer(connection: _Connection, status: int) -> None:
        now_s = time.perf_counter()
        if connection in judging:
            judging.discard(connection)
            feedback[status] = feedback.get(status, 0) + 1
            go_on(connection, status, now_s)
            return
        times_s.append(now_s - connection.sent_s)
        statuses[status] = statuses.get(status, 0) + 1
        if status != 200:
            errors.setdefault(connection.body[:300].decode(errors="replace"), round(now_s - started_s, 1))
        if status == 200 and arguments.feedback and rng.random() < arguments.feedback:
            judging.add(connection)
            connection.send(_thumb(arguments.port, connection.head))
            return
        go_on(connection, status, now_s)

    def go_on(connection: _Connection, status: int, now_s: float) -> None:
        if status == 0:
            return
        if arguments.rate is None:
            if now_s < ends_s:
                connection.send(next_request())
        elif late:
            connection.send(next_request())
            connection.sent_s = late.popleft()
        else:
            free.append(connection)

    connections = [
        (await loop.create_connection(lambda: _Connection(on_answer), "127.0.0.1", arguments.port))[1]
        for _ in range(arguments.connections)
    ]
    started_s = time.perf_counter()
    ends_s = started_s + arguments.seconds
    if arguments.rate is None:
        for connection in connections:
            connection.send(next_request())
        await asyncio.sleep(arguments.seconds)
    else:
        free.extend(connections)
        for place in range(int(arguments.rate * arguments.seconds)):
            due_s = started_s + place / arguments.rate
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            if free:
                free.popleft().send(next_request())
            else:
                late.append(due_s)
    answered = len(times_s)
    elapsed_s = time.perf_counter() - started_s
    waits_until_s = time.perf_counter() + _LAST_ANSWERS_S
    while (judging or late or len(times_s) < sent) and time.perf_counter() < waits_until_s:
        await asyncio.sleep(0.01)
    for connection in connections:
        connection.transport.abort()
    p50, p90, p99 = np.percentile(np.array(times_s) * 1000, [50, 90, 99])
    return {
        "requests_per_s": round(answered / elapsed_s, 1),
        "ms": {"p50": round(float(p50), 3), "p90": round(float(p90), 3), "p99": round(float(p99), 3)},
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "unanswered": sent - len(times_s) + len(late),
        "feedback": {str(status): count for status, count in sorted(feedback.items())},
        "first_errors_at_s": dict(list(errors.items())[:5]),
        "feedback_unanswered": len(judging),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("rate", type=float, nargs="?")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--feedback", type=float, default=0.0, help="share of the answers that are judged")
    parser.add_argument("--model", default="mixllm/auto")
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
