"""Every fault, seen by a plain HTTP client."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from mixllm.logs import RoutingLog
from mixllm.playback import (
    AnswerBook,
    BrokenStream,
    ConnectionDrop,
    EmptyAnswer,
    ErrorStatus,
    Fault,
    Garbage,
    Hang,
    PlaybackServer,
    Slow,
)

LLM = "atlas-large"


def chat(log: RoutingLog, **fields: Any) -> dict[str, Any]:
    return {"model": LLM, "messages": [{"role": "user", "content": log.prompts[0]}]} | fields


def post(http: aiohttp.ClientSession, server: PlaybackServer, body: dict[str, Any]) -> Any:
    return http.post(f"{server.base_url}/chat/completions", json=body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"), [(429, "rate_limit_error"), (500, "server_error"), (401, "authentication_error")]
)
async def test_error_statuses(
    server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog, status: int, kind: str, stream: bool
) -> None:
    server.put_faults(LLM, ErrorStatus(status=status, retry_after_s=7))
    async with post(http, server, chat(log, stream=stream)) as answer:
        assert answer.status == status
        assert answer.headers["Retry-After"] == "7"
        assert (await answer.json())["error"]["type"] == kind
    assert server.counts["faults"] == 1


async def test_an_error_at_a_rate(server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog) -> None:
    server.put_faults(LLM, ErrorStatus(status=503, rate=0.5))
    statuses = []
    for _ in range(60):
        async with post(http, server, chat(log)) as answer:
            statuses.append(answer.status)
    assert set(statuses) == {200, 503}
    assert 15 <= statuses.count(503) <= 45


async def test_faults_of_one_llm_leave_the_others_alone(
    server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog
) -> None:
    server.put_faults("boreal-pro", ErrorStatus())
    async with post(http, server, chat(log)) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_hanging(server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog, stream: bool) -> None:
    server.put_faults(LLM, Hang())
    limit = aiohttp.ClientTimeout(total=0.1)
    with pytest.raises(TimeoutError):
        await http.post(f"{server.base_url}/chat/completions", json=chat(log, stream=stream), timeout=limit)
    for _ in range(500):
        if server.counts["left"]:
            break
        await asyncio.sleep(0.005)
    assert server.counts["left"] == 1


async def test_hanging_for_a_while(server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog) -> None:
    server.put_faults(LLM, Hang(for_s=0.1))
    started = time.monotonic()
    async with post(http, server, chat(log)) as answer:
        assert answer.status == 200
    assert time.monotonic() - started >= 0.1


async def test_slowness(http: aiohttp.ClientSession, log: RoutingLog, book: AnswerBook) -> None:
    latency_s = book.answer(LLM, log.prompts[0]).latency_s
    with PlaybackServer(book, time_scale=0.02 / latency_s, faults={LLM: [Slow(factor=5.0)]}) as server:
        started = time.monotonic()
        async with post(http, server, chat(log)) as answer:
            assert answer.status == 200
        assert time.monotonic() - started >= 0.099


async def test_slowness_beside_the_time_scale(
    server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog
) -> None:
    server.put_faults(LLM, Slow(add_s=0.1))
    started = time.monotonic()
    async with post(http, server, chat(log, stream=True)) as answer:
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")
    assert time.monotonic() - started >= 0.1


async def test_garbage(server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog) -> None:
    server.put_faults(LLM, Garbage())
    async with post(http, server, chat(log)) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        with pytest.raises(json.JSONDecodeError):
            json.loads(await answer.text())
    async with post(http, server, chat(log, stream=True)) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        first = (await answer.text()).split("\n")[0]
    with pytest.raises(json.JSONDecodeError):
        json.loads(first.removeprefix("data: "))


@pytest.mark.parametrize("after_chunks", [0, 1, 3])
async def test_streams_that_break(
    server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog, after_chunks: int
) -> None:
    server.put_faults(LLM, BrokenStream(after_chunks=after_chunks))
    received = bytearray()

    async def read(answer: aiohttp.ClientResponse) -> None:
        while True:
            received.extend(await answer.content.readany())

    async with post(http, server, chat(log, stream=True)) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await read(answer)
    assert received.count(b"data: ") == after_chunks
    assert b"[DONE]" not in received
    assert server.counts["left"] == 0


async def test_a_stream_that_would_break_after_its_end_breaks_before_it(
    server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog
) -> None:
    server.put_faults(LLM, BrokenStream(after_chunks=10_000))
    async with post(http, server, chat(log, stream=True)) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_whole_answers_that_break(server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog) -> None:
    server.put_faults(LLM, BrokenStream())
    async with post(http, server, chat(log)) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


@pytest.mark.parametrize("stream", [False, True])
async def test_empty_answers(
    server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog, stream: bool
) -> None:
    server.put_faults(LLM, EmptyAnswer())
    async with post(http, server, chat(log, stream=stream)) as answer:
        text = await answer.text()
    if stream:
        chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
        assert [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks] == ["", ""]
    else:
        reply = json.loads(text)
        assert reply["choices"][0]["message"]["content"] == ""
        assert reply["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_dropped_connections(
    server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog, stream: bool
) -> None:
    server.put_faults(LLM, ConnectionDrop())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(http, server, chat(log, stream=stream))
    server.put_faults(LLM)
    async with post(http, server, chat(log)) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"kind": "error", "status": 500}, [ErrorStatus(status=500)]),
        ([{"kind": "hang", "rate": 0.5}, {"kind": "slow", "factor": 3}], [Hang(rate=0.5), Slow(factor=3.0)]),
        ([], []),
    ],
)
async def test_faults_are_set_over_http(
    server: PlaybackServer, http: aiohttp.ClientSession, sent: Any, found: list[Fault]
) -> None:
    url = f"{server.root_url}/playback/faults"
    async with http.post(f"{url}/{LLM}", json=sent) as answer:
        assert answer.status == 200
        listed = await answer.json()
    async with http.get(url) as answer:
        assert await answer.json() == listed
    assert [fault["kind"] for fault in listed.get(LLM, [])] == [
        {ErrorStatus: "error", Hang: "hang", Slow: "slow"}[type(fault)] for fault in found
    ]
    async with http.delete(f"{url}/{LLM}") as answer:
        assert await answer.json() == {}


@pytest.mark.parametrize(
    ("llm", "body", "status"),
    [
        ("nobody", "[]", 404),
        (LLM, '{"kind":"explosion"}', 400),
        (LLM, '{"kind":"error","status":200}', 400),
        (LLM, "not json", 400),
    ],
)
async def test_bad_faults_are_refused(
    server: PlaybackServer, http: aiohttp.ClientSession, llm: str, body: str, status: int
) -> None:
    async with http.post(f"{server.root_url}/playback/faults/{llm}", data=body) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["message"]
