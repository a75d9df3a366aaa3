"""What every `LLMClient` has to do; run it against your own with `check_client`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias, TypeVar

from mixllm.errors import UpstreamError, UpstreamProtocolError, UpstreamStatusError, UpstreamTimeoutError
from mixllm.interfaces import LLMClient
from mixllm.types import LLMSpec, Value

__all__ = [
    "CLIENT_CHECKS",
    "ClientBench",
    "ClientCheck",
    "MakeClientBench",
    "PlannedAnswer",
    "PlannedReply",
    "PlannedSilence",
    "PlannedStream",
    "PlannedUnreachable",
    "ReceivedRequest",
    "check_client",
]

_PATH = "/chat/completions"
_BODY = '{"model": "m",  "messages": [{"role": "user", "content": "Grüße \\u0041 {}"}], "x_unknown": [1e3]}'.encode()
_REPLY = b'{"id":"1", "object": "chat.completion","choices":[{"index":0}], "x_unknown": null}'
_EVENTS = (b'{"choices":[{"delta":{"role":"assistant"}}]}', b'{"choices":[{"delta":{"content":"hi\\n"}}]}')
_DONE = b"[DONE]"


class PlannedReply(Value, frozen=True, kw_only=True):
    """The endpoint answers with this status and body; `retry_after_s` becomes its ``Retry-After``."""

    body: bytes = _REPLY
    status: int = 200
    retry_after_s: int | None = None


class PlannedStream(Value, frozen=True, kw_only=True):
    """The endpoint streams these events and ends; without ``[DONE]`` the stream is broken.

    With `stays_open` the connection stays silent and open after the last event.
    """

    events: tuple[bytes, ...]
    stays_open: bool = False


class PlannedSilence(Value, frozen=True, kw_only=True):
    """The endpoint takes the request and never answers."""


class PlannedUnreachable(Value, frozen=True, kw_only=True):
    """Nothing listens at the endpoint; it is the only answer of its plan."""


PlannedAnswer: TypeAlias = PlannedReply | PlannedStream | PlannedSilence | PlannedUnreachable
"""What the endpoint does with one request."""


class ReceivedRequest(Value, frozen=True, kw_only=True):
    """A request as it arrived: its path below ``api_base``, and its body."""

    path: str
    body: bytes


class ClientBench(Protocol):
    """A client, an LLM whose endpoint plays the plan, and what arrived there."""

    @property
    def client(self) -> LLMClient:
        """The client that is checked."""

    @property
    def spec(self) -> LLMSpec:
        """The LLM to call; its time limit is the one that was asked for."""

    @property
    def received(self) -> Sequence[ReceivedRequest]:
        """Every request so far, in order."""


class MakeClientBench(Protocol):
    """Makes the bench for one check."""

    def __call__(
        self, answers: Sequence[PlannedAnswer], *, timeout_s: float
    ) -> AbstractAsyncContextManager[ClientBench]:
        """Return a context with a new client, whose endpoint gives `answers` to the requests, one each, in order."""


async def check_client(make: MakeClientBench) -> None:
    """Run every check of `CLIENT_CHECKS`; an `AssertionError` names what the client does not do.

    Parameters
    ----------
    make
        Makes a fresh client and an endpoint with a plan, for each check anew. For a client that speaks HTTP the
        endpoint is a server on the loopback device; a client without a network plays the plan itself.
    """
    for check in CLIENT_CHECKS:
        await check(make)


async def _returns_the_answer_as_it_came(make: MakeClientBench) -> None:
    async with make([PlannedReply()], timeout_s=5.0) as bench:
        reply = await bench.client.complete(bench.spec, path=_PATH, body=_BODY)
        assert reply.body == _REPLY, f"the answer's bytes were changed: {reply.body!r}"
        assert reply.content_type.startswith("application/json"), f"content type {reply.content_type!r}"


async def _sends_path_and_body_as_given(make: MakeClientBench) -> None:
    async with make([PlannedReply(), PlannedStream(events=(_DONE,))], timeout_s=5.0) as bench:
        await bench.client.complete(bench.spec, path=_PATH, body=_BODY)
        async with bench.client.stream(bench.spec, path="/completions", body=_BODY) as stream:
            assert [event async for event in stream.events()] == [_DONE]
        expected = [ReceivedRequest(path=_PATH, body=_BODY), ReceivedRequest(path="/completions", body=_BODY)]
        assert list(bench.received) == expected, f"the endpoint received {bench.received!r}"


async def _yields_every_event_in_order(make: MakeClientBench) -> None:
    async with make([PlannedStream(events=(*_EVENTS, _DONE))], timeout_s=5.0) as bench:
        async with bench.client.stream(bench.spec, path=_PATH, body=_BODY) as stream:
            events = [event async for event in stream.events()]
        assert events == [*_EVENTS, _DONE], f"the stream gave {events!r}"


async def _yields_the_same_events_in_batches(make: MakeClientBench) -> None:
    async with make([PlannedStream(events=(*_EVENTS, _DONE))], timeout_s=5.0) as bench:
        async with bench.client.stream(bench.spec, path=_PATH, body=_BODY) as stream:
            batches = [batch async for batch in stream.batches()]
        assert all(batches), "a batch without an event"
        events = [event for batch in batches for event in batch]
        assert events == [*_EVENTS, _DONE], f"the batches hold {events!r}"


async def _reports_a_broken_stream_after_its_events(make: MakeClientBench) -> None:
    async with make([PlannedStream(events=_EVENTS)], timeout_s=5.0) as bench:
        events: list[bytes] = []

        async def read() -> None:
            async with bench.client.stream(bench.spec, path=_PATH, body=_BODY) as stream:
                async for event in stream.events():
                    events.append(event)  # noqa: PERF401 - what came before the error counts

        error = await _raised(read, UpstreamProtocolError)
        assert events == list(_EVENTS), f"before the break the stream gave {events!r}"
        assert error.llm == bench.spec.name, f"the error names {error.llm!r}"


async def _reports_an_error_status(make: MakeClientBench) -> None:
    refusal = PlannedReply(status=429, body=b'{"error": {"message": "slow down"}}', retry_after_s=7)
    async with make([refusal, refusal], timeout_s=5.0) as bench:
        for call in (_complete(bench), _stream(bench)):
            error = await _raised(call, UpstreamStatusError)
            assert error.llm == bench.spec.name, f"the error names {error.llm!r}"
            assert error.status == refusal.status, f"the error has status {error.status}"
            assert error.body == refusal.body, f"the error has the body {error.body!r}"
            assert error.retry_after_s == refusal.retry_after_s, f"the error asks to wait {error.retry_after_s!r} s"
            assert "slow down" not in str(error), "the message repeats the endpoint's text, which may hold the prompt"


async def _refuses_what_is_not_the_protocol(make: MakeClientBench) -> None:
    bodies = (b"<html>hello</html>", b"[1]", b"")
    answers: list[PlannedAnswer] = [PlannedReply(body=body) for body in bodies]
    answers += [PlannedReply(), PlannedStream(events=(*_EVENTS, _DONE))]
    async with make(answers, timeout_s=5.0) as bench:
        for _ in bodies:
            await _raised(_complete(bench), UpstreamProtocolError)
        await _raised(_stream(bench), UpstreamProtocolError)
        await _raised(_complete(bench), UpstreamProtocolError)


async def _gives_up_after_the_time_limit(make: MakeClientBench) -> None:
    silent_stream = PlannedStream(events=_EVENTS, stays_open=True)
    async with make([PlannedSilence(), PlannedSilence(), silent_stream], timeout_s=0.15) as bench:
        for call in (_complete(bench), _stream(bench), _stream(bench)):
            async with asyncio.timeout(5.0):
                error = await _raised(call, UpstreamTimeoutError)
            assert error.llm == bench.spec.name, f"the error names {error.llm!r}"


async def _reports_an_unreachable_endpoint(make: MakeClientBench) -> None:
    async with make([PlannedUnreachable()], timeout_s=5.0) as bench:
        for call in (_complete(bench), _stream(bench)):
            error = await _raised(call, UpstreamError)
            assert error.llm == bench.spec.name, f"the error names {error.llm!r}"


async def _is_usable_after_leaving_a_stream_early(make: MakeClientBench) -> None:
    async with make([PlannedStream(events=_EVENTS, stays_open=True), PlannedReply()], timeout_s=5.0) as bench:
        async with bench.client.stream(bench.spec, path=_PATH, body=_BODY) as stream:
            first = await anext(aiter(stream.events()))
            assert first == _EVENTS[0], f"the stream began with {first!r}"
        reply = await bench.client.complete(bench.spec, path=_PATH, body=_BODY)
        assert reply.body == _REPLY, "the call after a stream that was left early got another answer"


async def _serves_calls_side_by_side(make: MakeClientBench) -> None:
    async with make([PlannedReply()] * 8, timeout_s=5.0) as bench:
        calls = (bench.client.complete(bench.spec, path=_PATH, body=_BODY) for _ in range(8))
        replies = await asyncio.gather(*calls)
        assert [reply.body for reply in replies] == [_REPLY] * 8
        assert len(bench.received) == 8, f"8 calls made {len(bench.received)} requests"


async def _refuses_calls_once_closed(make: MakeClientBench) -> None:
    async with make([PlannedReply(), PlannedReply()], timeout_s=5.0) as bench:
        await bench.client.complete(bench.spec, path=_PATH, body=_BODY)
        await bench.client.close()
        await bench.client.close()
        for call in (_complete(bench), _stream(bench)):
            await _raised(call, UpstreamError)
        assert len(bench.received) == 1, "a closed client still called the endpoint"


ClientCheck: TypeAlias = Callable[[MakeClientBench], Awaitable[None]]
"""One check; it raises `AssertionError` where the client does not pass."""

CLIENT_CHECKS: tuple[ClientCheck, ...] = (
    _returns_the_answer_as_it_came,
    _sends_path_and_body_as_given,
    _yields_every_event_in_order,
    _yields_the_same_events_in_batches,
    _reports_a_broken_stream_after_its_events,
    _reports_an_error_status,
    _refuses_what_is_not_the_protocol,
    _gives_up_after_the_time_limit,
    _reports_an_unreachable_endpoint,
    _is_usable_after_leaving_a_stream_early,
    _serves_calls_side_by_side,
    _refuses_calls_once_closed,
)
"""The checks, each to be awaited with the same `make`."""

_Call: TypeAlias = Callable[[], Awaitable[None]]
_Error = TypeVar("_Error", bound=UpstreamError)


def _complete(bench: ClientBench) -> _Call:
    async def call() -> None:
        await bench.client.complete(bench.spec, path=_PATH, body=_BODY)

    return call


def _stream(bench: ClientBench) -> _Call:
    async def call() -> None:
        async with bench.client.stream(bench.spec, path=_PATH, body=_BODY) as stream:
            async for _ in stream.events():
                pass

    return call


async def _raised(call: _Call, kind: type[_Error]) -> _Error:
    try:
        await call()
    except kind as error:
        return error
    raise AssertionError(f"the client should have raised {kind.__name__}, but raised nothing")
