from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.clients.wire import WireServer, http_answer, open_wire, say, silence, sse_answer

from mixllm.clients import OpenAIClient
from mixllm.clock import ManualClock
from mixllm.conformance.client import (
    CLIENT_CHECKS,
    ClientCheck,
    PlannedAnswer,
    PlannedReply,
    PlannedSilence,
    PlannedStream,
    PlannedUnreachable,
    ReceivedRequest,
    check_client,
)
from mixllm.errors import (
    InvalidValueError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamStatusError,
    UpstreamTimeoutError,
)
from mixllm.types import LLMSpec, Secret

PATH = "/chat/completions"
KEY = "sk-very-secret-1234"
DONE = b"data: [DONE]\n\n"
EVENT = b'data: {"a":1}\n\n'


@asynccontextmanager
async def open_client(client: OpenAIClient | None = None) -> AsyncIterator[OpenAIClient]:
    opened = client or OpenAIClient(environ={})
    try:
        yield opened
    finally:
        await opened.close()


def spec_of(wire: WireServer, **fields: object) -> LLMSpec:
    spec = LLMSpec(name="llm", api_base=wire.base_url)
    return LLMSpec(**{**{name: getattr(spec, name) for name in spec.__struct_fields__}, **fields})


async def events_of(client: OpenAIClient, spec: LLMSpec, *, into: list[bytes] | None = None) -> list[bytes]:
    events = [] if into is None else into
    async with client.stream(spec, path=PATH, body=b"{}") as stream:
        async for event in stream.events():
            events.append(event)
    return events


@dataclass(frozen=True, slots=True)
class Bench:
    client: OpenAIClient
    spec: LLMSpec
    wire: WireServer

    @property
    def received(self) -> Sequence[ReceivedRequest]:
        return [ReceivedRequest(path=r.path.removeprefix("/v1"), body=r.body) for r in self.wire.requests]


@asynccontextmanager
async def make_bench(answers: Sequence[PlannedAnswer], *, timeout_s: float) -> AsyncIterator[Bench]:
    handlers = []
    unreachable = False
    for answer in answers:
        match answer:
            case PlannedReply(body=body, status=status, retry_after_s=wait):
                headers = ["Content-Type: application/json"]
                headers += [] if wait is None else [f"Retry-After: {wait}"]
                handlers.append(say(http_answer(body, status=status, headers=headers)))
            case PlannedStream(events=events, stays_open=stays_open):
                text = b"".join(b"data: " + event + b"\n\n" for event in events)
                handlers.append(say(sse_answer(text, whole=not stays_open)))
            case PlannedSilence():
                handlers.append(silence())
            case PlannedUnreachable():
                unreachable = True
                handlers.append(silence())
    async with open_wire(*handlers) as wire, open_client() as client:
        base = f"http://127.0.0.1:{closed_port()}/v1" if unreachable else wire.base_url
        yield Bench(client, LLMSpec(name="a/b c", api_base=base, timeout_s=timeout_s), wire)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("check", CLIENT_CHECKS, ids=[check.__name__.strip("_") for check in CLIENT_CHECKS])
async def test_conforms(check: ClientCheck) -> None:
    await check(make_bench)  # asserts by itself


async def test_the_suite_runs_every_check() -> None:
    made: list[Sequence[PlannedAnswer]] = []

    def counted(answers: Sequence[PlannedAnswer], *, timeout_s: float) -> AbstractAsyncContextManager[Bench]:
        made.append(answers)
        return make_bench(answers, timeout_s=timeout_s)

    await check_client(counted)
    assert len(made) == len(CLIENT_CHECKS) > 5


async def test_sends_the_key_of_the_environment_at_each_call() -> None:
    environ = {"LLM_KEY": f" {KEY}\n"}
    async with open_wire(say(http_answer(b"{}"))) as wire, open_client(OpenAIClient(environ=environ)) as client:
        spec = spec_of(wire, api_key_env="LLM_KEY")
        await client.complete(spec, path=PATH, body=b"{}")
        environ["LLM_KEY"] = "other"
        await client.complete(spec, path=PATH, body=b"{}")
    assert [request.headers["authorization"] for request in wire.requests] == [f"Bearer {KEY}", "Bearer other"]


async def test_takes_the_environment_of_the_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXLLM_TEST_KEY", KEY)
    async with open_wire(say(http_answer(b"{}"))) as wire, open_client(OpenAIClient()) as client:
        await client.complete(spec_of(wire, api_key_env="MIXLLM_TEST_KEY"), path=PATH, body=b"{}")
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_literal_key_goes_before_the_environment() -> None:
    client = OpenAIClient(environ={"LLM_KEY": "other"}, secrets={"llm": Secret(KEY)})
    async with open_wire(say(http_answer(b"{}"))) as wire, open_client(client):
        await client.complete(spec_of(wire, api_key_env="LLM_KEY"), path=PATH, body=b"{}")
        await client.complete(spec_of(wire, name="keyless"), path=PATH, body=b"{}")
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in wire.requests[1].headers


@pytest.mark.parametrize("environ", [{}, {"LLM_KEY": ""}, {"LLM_KEY": "  "}])
async def test_says_which_variable_is_missing(environ: dict[str, str]) -> None:
    async with open_wire(say(http_answer(b"{}"))) as wire, open_client(OpenAIClient(environ=environ)) as client:
        with pytest.raises(UpstreamError, match=r"Set the environment variable LLM_KEY\."):
            await client.complete(spec_of(wire, api_key_env="LLM_KEY"), path=PATH, body=b"{}")
    assert wire.requests == []


@pytest.mark.parametrize("key", ["sk-\n1", "sk-ä", "sk-\x00"])
async def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    client = OpenAIClient(environ={"LLM_KEY": key}, secrets={"literal": Secret(key)})
    async with open_wire(say(http_answer(b"{}"))) as wire, open_client(client):
        for spec in (spec_of(wire, api_key_env="LLM_KEY"), spec_of(wire, name="literal")):
            with pytest.raises(UpstreamError, match="characters that no header can carry") as caught:
                await client.complete(spec, path=PATH, body=b"{}")
            assert key not in str(caught.value)


async def test_no_error_shows_the_key() -> None:
    client = OpenAIClient(environ={"LLM_KEY": KEY}, secrets={"other": Secret(KEY)})
    assert KEY not in repr(client)
    answers = [http_answer(b"no", status=401), http_answer(b"x"), b"garbage\r\n\r\n"]
    async with open_wire(*(say(answer, keep=False) for answer in answers)) as wire, open_client(client):
        for _ in answers:
            with pytest.raises(UpstreamError) as caught:
                await client.complete(spec_of(wire, api_key_env="LLM_KEY"), path=PATH, body=b"{}")
            assert KEY not in f"{caught.value} {caught.value!r}"


async def test_headers_and_url() -> None:
    async with (
        open_wire(say(http_answer(b"{}", headers=("Content-Type: application/json", "Set-Cookie: a=b")))) as wire,
        open_client() as client,
    ):
        spec = spec_of(wire, api_base=f"{wire.base_url}/")
        await client.complete(spec, path=PATH, body=b"{}")
        await client.complete(spec, path=PATH, body=b"{}")
    request = wire.requests[1]
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "cookie" not in request.headers


async def test_keeps_connections_of_plain_and_streamed_answers() -> None:
    stream = say(sse_answer(EVENT + DONE))
    plain = say(http_answer(b"{}"))
    async with open_wire(stream, plain, stream, plain) as wire, open_client() as client:
        for _ in range(2):
            await events_of(client, spec_of(wire))
            await client.complete(spec_of(wire), path=PATH, body=b"{}")
    assert wire.connections == 1
    assert len(wire.requests) == 4


async def test_the_end_of_a_stream_may_come_late_and_the_connection_is_kept() -> None:
    async def handle(_request: object, writer: asyncio.StreamWriter) -> bool:
        writer.write(sse_answer(EVENT + DONE, whole=False))
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")
        return True

    async with open_wire(handle) as wire, open_client() as client:
        for _ in range(2):
            assert await events_of(client, spec_of(wire)) == [b'{"a":1}', b"[DONE]"]
    assert wire.connections == 1


async def test_a_stream_that_never_ends_after_done_is_closed() -> None:
    async with open_wire(say(sse_answer(EVENT + DONE, whole=False))) as wire, open_client() as client:
        assert await events_of(client, spec_of(wire)) == [b'{"a":1}', b"[DONE]"]
        await asyncio.wait_for(wire.left.wait(), 5)
    assert wire.left.is_set()


async def test_leaving_a_stream_closes_its_connection() -> None:
    async with open_wire(silence(sse_answer(EVENT, whole=False))) as wire, open_client() as client:
        async with client.stream(spec_of(wire), path=PATH, body=b"{}") as stream:
            assert await anext(stream.events()) == b'{"a":1}'
        await asyncio.wait_for(wire.left.wait(), 5)
        assert [event async for event in stream.events()] == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_cancelling_a_call_closes_its_connection(streamed: bool) -> None:
    async with open_wire(silence()) as wire, open_client() as client:
        spec = spec_of(wire)
        call = events_of(client, spec) if streamed else client.complete(spec, path=PATH, body=b"{}")
        task = asyncio.ensure_future(call)
        while not wire.requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(wire.left.wait(), 5)
    assert wire.left.is_set()


async def test_an_error_inside_the_stream_closes_the_connection() -> None:
    async with open_wire(silence(sse_answer(EVENT, whole=False))) as wire, open_client() as client:
        with pytest.raises(KeyError):
            async with client.stream(spec_of(wire), path=PATH, body=b"{}"):
                raise KeyError
        await asyncio.wait_for(wire.left.wait(), 5)
    assert wire.left.is_set()


async def test_large_bodies_go_out_and_come_back() -> None:
    body = b'{"x": "' + b"y" * (3 * 1024 * 1024) + b'"}'
    async with open_wire(say(http_answer(body))) as wire, open_client() as client:
        reply = await client.complete(spec_of(wire), path=PATH, body=body)
    assert reply.body == body
    assert wire.requests[0].body == body


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "fits"), [(100, True), (101, False)])
async def test_the_size_of_an_answer_is_bounded(chunked: bool, size: int, fits: bool) -> None:
    body = b'{"x":"' + b"y" * (size - 8) + b'"}'
    answer = sse_answer(body) if chunked else http_answer(body)
    async with open_wire(say(answer)) as wire, open_client(OpenAIClient(environ={}, max_reply_bytes=100)) as client:
        if fits:
            assert (await client.complete(spec_of(wire), path=PATH, body=b"{}")).body == body
        else:
            with pytest.raises(UpstreamProtocolError, match="max_reply_bytes = 100"):
                await client.complete(spec_of(wire), path=PATH, body=b"{}")


async def test_the_size_of_an_event_is_bounded() -> None:
    endless = sse_answer(b"data: " + b"x" * 1000, whole=False)
    async with open_wire(silence(endless)) as wire, open_client(OpenAIClient(environ={}, max_event_bytes=99)) as client:
        with pytest.raises(UpstreamProtocolError, match="max_event_bytes = 99"):
            await events_of(client, spec_of(wire))
        await asyncio.wait_for(wire.left.wait(), 5)
    assert wire.left.is_set()


@pytest.mark.parametrize("chunked", [False, True])
async def test_the_body_of_an_error_is_bounded(chunked: bool) -> None:
    text = b"e" * 200_000
    answer = sse_answer(text).replace(b"200 OK", b"500 X") if chunked else http_answer(text, status=500)
    async with open_wire(say(answer)) as wire, open_client() as client:
        with pytest.raises(UpstreamStatusError) as caught:
            await client.complete(spec_of(wire), path=PATH, body=b"{}")
    assert caught.value.status == 500
    assert caught.value.body == text[: 64 * 1024]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("status", [301, 400, 401, 404, 429, 500, 503])
async def test_error_statuses(status: int, streamed: bool) -> None:
    headers = ["Location: http://127.0.0.1:1/", "Retry-After: Sun, 09 Sep 2001 01:46:50 GMT"]
    answer = http_answer(b'{"error":1}', status=status, headers=headers)
    client = OpenAIClient(environ={}, clock=ManualClock(start_s=1_000_000_000.0))
    async with open_wire(say(answer)) as wire, open_client(client):
        spec = spec_of(wire)
        call = events_of(client, spec) if streamed else client.complete(spec, path=PATH, body=b"{}")
        with pytest.raises(UpstreamStatusError) as caught:
            await call
    assert (caught.value.status, caught.value.body, caught.value.retry_after_s) == (status, b'{"error":1}', 10.0)


async def test_a_status_is_reported_even_where_its_body_breaks_off() -> None:
    answer = http_answer(b"abc", status=503).replace(b"Length: 3", b"Length: 9")
    async with open_wire(say(answer, keep=False)) as wire, open_client() as client:
        with pytest.raises(UpstreamStatusError) as caught:
            await client.complete(spec_of(wire), path=PATH, body=b"{}")
    assert caught.value.status == 503


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http_answer(b"<html>"), "not a JSON object"),
        (http_answer(b'{"a":'), "not a JSON object"),
        (http_answer(b'{"a":"\xff"}'), "not a JSON object"),
        (http_answer(b'"text"'), "not a JSON object"),
        (http_answer(b'{"error":{"message":"no credit"}}'), "an error under status 200"),
        (http_answer(b"{}", status=202), "status 202, not 200"),
        (http_answer(b"\x1f\x8b", headers=["Content-Encoding: gzip"]), "compressed"),
        (http_answer(b"{}").replace(b"Length: 2", b"Length: 9"), "broke the answer off"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer in HTTP"),
    ],
)
async def test_answers_that_are_not_the_protocol(answer: bytes, words: str) -> None:
    async with open_wire(say(answer, keep=False)) as wire, open_client() as client:
        with pytest.raises(UpstreamProtocolError, match=words):
            await client.complete(spec_of(wire), path=PATH, body=b"{}")


async def test_an_error_of_null_beside_an_answer_is_an_answer() -> None:
    body = b'{"error":null,"choices":[]}'
    async with open_wire(say(http_answer(body))) as wire, open_client() as client:
        assert (await client.complete(spec_of(wire), path=PATH, body=b"{}")).body == body


@pytest.mark.parametrize(
    ("answer", "words", "before"),
    [
        (http_answer(b"{}"), "with 'application/json'", 0),
        (http_answer(b"{}", headers=[]), "with 'application/octet-stream'", 0),
        (sse_answer(b""), r"ended before \[DONE\]", 0),
        (sse_answer(EVENT), r"ended before \[DONE\]", 1),
        (sse_answer(EVENT + b'data: {"a":'), r"ended before \[DONE\]", 1),
        (sse_answer(EVENT, whole=False), r"ended before \[DONE\]", 1),
        (sse_answer(EVENT + b"data: hello\n\n" + DONE), "not a JSON object", 1),
        (sse_answer(EVENT + b"data: [1]\n\n" + DONE), "not a JSON object", 1),
        (sse_answer(EVENT + b'data: {"error":{"message":"overloaded"}}\n\n' + DONE), "broke off with an error", 1),
    ],
)
async def test_streams_that_are_not_the_protocol(answer: bytes, words: str, before: int) -> None:
    events: list[bytes] = []
    async with open_wire(say(answer, keep=False)) as wire, open_client() as client:
        with pytest.raises(UpstreamProtocolError, match=words):
            await events_of(client, spec_of(wire), into=events)
    assert len(events) == before


async def test_a_stream_with_broken_framing() -> None:
    async with open_wire(say(sse_answer(EVENT, whole=False) + b"zz\r\n", keep=False)) as wire, open_client() as client:
        with pytest.raises(UpstreamProtocolError):
            await events_of(client, spec_of(wire))
    assert len(wire.requests) == 1


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"data: [DONE]\n", b"data: [DONE]", b"data:[DONE]\r\n\r\n"])
async def test_what_ends_a_stream(end: bytes) -> None:
    text = b": hello\n\n" + EVENT + end + (b'data: {"late":1}\n\n' if end.endswith(b"\n\n") else b"")
    async with open_wire(say(sse_answer(text))) as wire, open_client() as client:
        assert await events_of(client, spec_of(wire)) == [b'{"a":1}', b"[DONE]"]


async def test_a_connection_closed_without_an_answer() -> None:
    async with open_wire(say(b"", keep=False)) as wire, open_client() as client:
        for call in (client.complete(spec_of(wire), path=PATH, body=b"{}"), events_of(client, spec_of(wire))):
            with pytest.raises(UpstreamError, match="closed the connection without an answer"):
                await call


async def test_an_unknown_host() -> None:
    async with open_client() as client:
        spec = LLMSpec(name="llm", api_base="http://nowhere.invalid:81/v1?key=hidden")
        with pytest.raises(UpstreamError, match="Check api_base") as caught:
            await client.complete(spec, path=PATH, body=b"{}")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("base", ["http://", "http://a b:xx/v1", "https://host:99999999/v1"])
async def test_an_api_base_that_is_no_url(base: str) -> None:
    async with open_client() as client:
        with pytest.raises(UpstreamError, match=r"api_base is not a usable URL"):
            await client.complete(LLMSpec(name="llm", api_base=base), path=PATH, body=b"{}")


async def test_no_api_base() -> None:
    async with open_client() as client:
        for call in (
            client.complete(LLMSpec(name="llm"), path=PATH, body=b"{}"),
            events_of(client, LLMSpec(name="llm")),
        ):
            with pytest.raises(UpstreamError, match="it has no api_base"):
                await call


async def test_a_tls_endpoint_that_speaks_plain_text() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server, open_client() as client:
        spec = LLMSpec(name="llm", api_base=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        with pytest.raises(UpstreamError, match="TLS"):
            await client.complete(spec, path=PATH, body=b"{}")


async def test_the_connection_has_its_own_time_limit() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(8)]
        try:
            for filler in fillers:
                filler.settimeout(0)
                filler.connect_ex(address)
            async with open_client(OpenAIClient(environ={}, connect_timeout_s=0.1)) as client:
                spec = LLMSpec(name="llm", api_base=f"http://127.0.0.1:{address[1]}/v1", timeout_s=60.0)
                for call in (client.complete(spec, path=PATH, body=b"{}"), events_of(client, spec)):
                    with pytest.raises(UpstreamTimeoutError, match=r"no connection to its endpoint within 0\.1 s"):
                        await call
        finally:
            for filler in fillers:
                filler.close()


async def test_a_stream_may_last_longer_than_its_limit_while_it_keeps_coming() -> None:
    async def handle(_request: object, writer: asyncio.StreamWriter) -> bool:
        writer.write(sse_answer(EVENT, whole=False))
        for _ in range(6):
            await asyncio.sleep(0.05)
            writer.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE))
        return True

    async with open_wire(handle) as wire, open_client() as client:
        events = await events_of(client, spec_of(wire, timeout_s=0.2))
    assert len(events) == 8


async def test_a_whole_answer_may_not_trickle_past_its_limit() -> None:
    async def handle(_request: object, writer: asyncio.StreamWriter) -> bool:
        writer.write(http_answer(b"{}").replace(b"Length: 2", b"Length: 99"))
        for _ in range(20):
            await asyncio.sleep(0.02)
            writer.write(b" ")
        return False

    async with open_wire(handle) as wire, open_client() as client:
        with pytest.raises(UpstreamTimeoutError, match=r"timeout_s = 0\.1"):
            await client.complete(spec_of(wire, timeout_s=0.1), path=PATH, body=b"{}")


async def test_ignores_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    async with open_wire(say(http_answer(b"{}"))) as wire, open_client() as client:
        await client.complete(spec_of(wire), path=PATH, body=b"{}")
    assert len(wire.requests) == 1


async def test_closing_an_unused_client() -> None:
    client = OpenAIClient(environ={})
    await client.close()
    with pytest.raises(UpstreamError, match="client is closed"):
        await client.complete(LLMSpec(name="llm", api_base="http://127.0.0.1:1"), path=PATH, body=b"{}")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("connect_timeout_s", 0.0), ("max_reply_bytes", 0), ("max_event_bytes", -1), ("max_connections", 0)],
)
def test_refuses_bad_parameters(parameter: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=parameter):
        OpenAIClient(**{parameter: value})  # type: ignore[arg-type]


def test_parameters_reach_their_attributes() -> None:
    clock, secrets, environ = ManualClock(start_s=1_000_000_000.0), {"a": Secret("k")}, {"A": "b"}
    client = OpenAIClient(
        environ=environ,
        secrets=secrets,
        connect_timeout_s=1.5,
        max_reply_bytes=2,
        max_event_bytes=3,
        max_connections=4,
        clock=clock,
    )
    assert client.environ is environ
    assert client.secrets is secrets
    assert client.clock is clock
    assert client.connect_timeout_s == 1.5
    assert (client.max_reply_bytes, client.max_event_bytes, client.max_connections) == (2, 3, 4)
    assert OpenAIClient().environ is os.environ


def test_without_aiohttp_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "import mixllm.clients\n"
        "assert 'aiohttp' not in {name for name, module in sys.modules.items() if module}\n"
        "from mixllm.errors import MissingExtraError\n"
        "try:\n    mixllm.clients.OpenAIClient\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'mixllm[gateway]'" in run.stdout
