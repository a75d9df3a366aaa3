"""Streams from an endpoint's bytes to the client's, through the real client's stream and the real application."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import Any, cast

import aiohttp
import numpy as np

from benchmarks.fuzzing.mutations import mutated
from benchmarks.fuzzing.sse_target import STREAM_WORDS, STREAMS, chunks, events_of, line_ends
from benchmarks.fuzzing.target import WrongError
from mixllm.assembly import Router
from mixllm.clients.open_stream import OpenStream
from mixllm.config import CallsConfig, GatewayConfig, RoutingConfig
from mixllm.config.calls import BreakerConfig
from mixllm.gateway import create_app
from mixllm.interfaces import UpstreamReply
from mixllm.types import LLMSpec, OutcomeStatus

__all__ = ["StreamsTarget"]

_DONE = b"[DONE]"
_BODY = json.dumps(
    {
        "model": "small",
        "messages": [{"role": "user", "content": "x"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
).encode()
_BEGIN = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
_MAX_EVENT_BYTES = 8000


class StreamsTarget:
    """The gateway's streams: no event lost or made up, one end, one outcome, whatever the endpoint sends."""

    name = "streams"

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        self._loop: asyncio.AbstractEventLoop | None = None

    def make(self, rng: np.random.Generator) -> bytes:
        """Return a stream, changed or not."""
        case = line_ends(STREAMS[int(rng.integers(len(STREAMS)))], rng)
        if rng.random() < 0.1:
            return case
        case = mutated(case, rng, words=STREAM_WORDS, others=STREAMS, most=5)
        return case if rng.random() < 0.3 else _BEGIN + case  # Most streams should get beyond their first event.

    def check(self, case: bytes, rng: np.random.Generator) -> str:
        """Ask for a stream and let the endpoint send `case`."""
        loop = self._start()
        self._client.pieces = chunks(case, rng)
        status, headers, body = loop.run_until_complete(self._ask())
        outcome = self._outcome(headers)
        if any(self._router.in_flight.counts().values()):
            raise WrongError("a call is still under way")
        if status != 200:
            if status != 502 or "error" not in json.loads(body):
                raise WrongError(f"status {status}: {body[:200]!r}")
            if outcome is not OutcomeStatus.ERROR:
                raise WrongError(f"recorded as {outcome}")
            return "502"
        return _compared(case, body, outcome)

    def close(self) -> None:
        """Close what was opened."""
        if self._loop is not None:
            self._router.close()
            self._loop.close()

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            # Only here: threads and the loop's own files do not survive a fork.
            from tests.small_router import small_router

            self._loop = asyncio.new_event_loop()
            self._router: Router = small_router(routing=RoutingConfig(max_cooldown_s=1e-6))
            self._client = _Endpoint()
            self._app = create_app(
                router=self._router,
                client=self._client,
                config=GatewayConfig(access_log=False),
                calls=CallsConfig(max_attempts=1, breaker=BreakerConfig(enabled=False)),
            )
        return self._loop

    async def _ask(self) -> tuple[int, dict[str, str], bytes]:
        sent: list[Any] = []
        asked = deque([{"type": "http.request", "body": _BODY, "more_body": False}])

        async def receive() -> dict[str, Any]:
            if asked:
                return asked.popleft()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await self._app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])

    def _outcome(self, headers: dict[str, str]) -> OutcomeStatus:
        stored = self._router.decision(headers["x-mixllm-inference-id"])
        if len(stored.outcomes) != 1:
            raise WrongError(f"{len(stored.outcomes)} outcomes are recorded")
        return stored.outcomes[0].status


class _Endpoint:
    """An `LLMClient` whose endpoint sends `pieces`."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def complete(self, spec: LLMSpec, *, path: str, body: bytes) -> UpstreamReply:
        raise AssertionError((spec, path, body))

    def stream(self, spec: LLMSpec, *, path: str, body: bytes) -> OpenStream:
        del path, body
        pieces = self.pieces

        async def opened() -> aiohttp.ClientResponse:
            return cast("aiohttp.ClientResponse", _Response(pieces))

        return OpenStream(spec=spec, open_response=opened, connect_timeout_s=1.0, max_event_bytes=_MAX_EVENT_BYTES)

    async def close(self) -> None:
        return


class _Response:
    """What of aiohttp's answer `OpenStream` uses."""

    content_type = "text/event-stream"

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = deque(piece for piece in pieces if piece)
        self.content = self

    async def readany(self) -> bytes:
        return self._pieces.popleft() if self._pieces else b""

    async def read(self) -> bytes:
        return b""

    def at_eof(self) -> bool:
        return not self._pieces

    def close(self) -> None:
        self._pieces.clear()


def _compared(case: bytes, body: bytes, outcome: OutcomeStatus) -> str:
    """Compare what the client got with what was sent; return how it ended."""
    expected, _, longest = events_of(case)
    found, _, _ = events_of(body)
    if not found:
        raise WrongError("a stream without an end")
    *passed, last = found
    whole = expected[: expected.index(_DONE)] if _DONE in expected else expected
    if len(passed) > len(whole):
        raise WrongError(f"{len(passed) - len(whole)} events were made up")
    for sent, got in zip(whole, passed, strict=False):
        if sent != got and _without_model(sent) != _without_model(got):
            raise WrongError(f"{got!r} instead of {sent!r}")
    if last == _DONE:
        if len(passed) != len(whole) or outcome is not OutcomeStatus.OK:
            raise WrongError(f"{len(whole) - len(passed)} events were lost, recorded as {outcome}")
        return "whole"
    if "error" not in json.loads(last) or outcome is not OutcomeStatus.BROKEN_STREAM:
        raise WrongError(f"it ends with {last!r}, recorded as {outcome}")
    if _DONE in expected and longest < _MAX_EVENT_BYTES // 2 and all(map(_is_plain, whole)):
        raise WrongError("a good stream was broken off")
    return "broken off"


def _without_model(event: bytes) -> Any:
    try:
        tree = json.loads(event)
    except ValueError:
        return event
    tree.pop("model", None)
    return tree


def _is_plain(event: bytes) -> bool:
    """Whether an event is beyond doubt a chunk."""
    try:
        tree = json.loads(event.decode())
    except (ValueError, RecursionError):
        return False
    odd = any(word in event for word in (b"NaN", b"Infinity", b"\\ud", b"\\uD", b"e+", b"E", b"99"))
    return isinstance(tree, dict) and "error" not in tree and not odd
