from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import MutableMapping
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette

from mixllm.clients import OpenAIClient
from mixllm.clock import ManualClock
from mixllm.errors import InvalidValueError, UnknownLLMError
from mixllm.logs import RoutingLog
from mixllm.playback import (
    SYNTHETIC_LLMS,
    AnswerBook,
    ConnectionDrop,
    Fault,
    Garbage,
    Hang,
    PlaybackServer,
    Slow,
    playback_app,
)
from mixllm.playback.serve import serve
from mixllm.types import Capability

LLM = "atlas-large"


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.loads(answer.read())


def chat(log: RoutingLog, **fields: Any) -> dict[str, Any]:
    return {"model": LLM, "messages": [{"role": "user", "content": log.prompts[0]}]} | fields


async def test_models_health_and_counts(server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog) -> None:
    async with http.get(f"{server.base_url}/models") as answer:
        models = await answer.json()
    assert models["object"] == "list"
    assert [(model["id"], model["object"]) for model in models["data"]] == [(llm, "model") for llm in log.llms]
    async with http.get(f"{server.root_url}/health") as answer:
        assert await answer.json() == {"status": "ok"}
    url = f"{server.base_url}/chat/completions"
    for body in (chat(log), chat(log, stream=True), {}):
        async with http.post(url, json=body) as answer:
            await answer.read()
    async with http.get(f"{server.root_url}/playback/counts") as answer:
        counts = await answer.json()
    assert counts.pop("by_llm")[LLM] == 2
    assert counts == server.counts == {"requests": 3, "streams": 1, "refused": 1, "faults": 0, "left": 0}
    assert server.requests_by_llm[LLM] == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"\xff", "malformed"),
        (b"{}", "missing required field `model`"),
        (b'{"model":"atlas-large"}', "missing required field `messages`"),
        (b'{"model":"atlas-large","messages":[]}', "one message or more"),
        (b'{"model":"atlas-large","messages":[{"role":"user","content":7}]}', "content"),
        (b'{"model":"atlas-large","messages":[{"content":"x"}]}', "role"),
        (b'{"model":"atlas-large","messages":[{"role":"user"}],"n":129}', "between 1 and 128"),
        (b'{"model":"atlas-large","messages":[{"role":"user"}],"max_tokens":0}', "1 or more"),
        (b'{"model":"atlas-large","messages":[{"role":"user"}],"stream":"yes"}', "stream"),
        (
            b'{"model":"atlas-large","messages":[{"role":"user"}],"tool_choice":{"type":"function","function":{"name":"f"}}}',
            "not among tools",
        ),
    ],
)
async def test_malformed_requests(server: PlaybackServer, http: aiohttp.ClientSession, body: bytes, words: str) -> None:
    async with http.post(f"{server.base_url}/chat/completions", data=body) as answer:
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


async def test_unknown_paths_and_methods(server: PlaybackServer, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{server.base_url}/nothing") as answer:
        assert answer.status == 404
    async with http.get(f"{server.base_url}/chat/completions") as answer:
        assert answer.status == 405


async def test_requests_are_kept_byte_for_byte(
    server: PlaybackServer, http: aiohttp.ClientSession, log: RoutingLog
) -> None:
    body = b'{ "model":"atlas-large",\n"x":1e0, "messages":[{"role":"user","content":"\\u00fc \xc3\xbc"}]}'
    headers = {"Authorization": "Bearer sk-secret", "X-Trace": "7"}
    for sent in (b"{}", body):
        async with http.post(f"{server.base_url}/chat/completions", data=sent, headers=headers) as answer:
            await answer.read()
    async with http.get(f"{server.root_url}/playback/requests") as answer:
        (newest,) = await answer.json()
    async with http.get(f"{server.root_url}/playback/requests", params={"limit": "9"}) as answer:
        assert len(await answer.json()) == 2
    assert base64.b64decode(newest["body"]) == body
    assert server.requests(1)[0].body == body
    assert newest["path"] == "/v1/chat/completions"
    assert ["x-trace", "7"] in newest["headers"]
    assert "sk-secret" not in str(newest) + str(server.requests())


async def test_only_the_newest_requests_are_kept(server: PlaybackServer, http: aiohttp.ClientSession) -> None:
    for number in range(6):
        async with http.post(f"{server.base_url}/chat/completions", data=b"%d" % number) as answer:
            await answer.read()
    assert [kept.body for kept in server.requests()] == [b"5", b"4", b"3", b"2"]
    async with http.get(f"{server.root_url}/playback/requests", params={"limit": "-1"}) as answer:
        assert answer.status == 400


async def test_by_default_no_request_is_kept(http: aiohttp.ClientSession, book: AnswerBook, log: RoutingLog) -> None:
    with PlaybackServer(book, time_scale=0) as server:
        async with http.post(f"{server.base_url}/chat/completions", json=chat(log)) as answer:
            assert answer.status == 200
        async with http.get(f"{server.root_url}/playback/requests") as answer:
            assert answer.status == 404
            assert "keep_requests" in (await answer.json())["error"]["message"]
        assert server.requests() == []


async def test_answers_take_the_recorded_time(http: aiohttp.ClientSession, book: AnswerBook, log: RoutingLog) -> None:
    recorded = book.answer(LLM, log.prompts[0])
    scale = 0.2 / recorded.latency_s
    with PlaybackServer(book, time_scale=scale, chunk_tokens=1) as server:
        url = f"{server.base_url}/chat/completions"
        started = time.monotonic()
        async with http.post(url, json=chat(log)) as answer:
            await answer.read()
        assert time.monotonic() - started >= 0.199
        started = time.monotonic()
        async with http.post(url, json=chat(log, stream=True)) as answer:
            first_s = time.monotonic() - started
            await answer.read()
        assert first_s >= recorded.ttft_s * scale - 0.001
        assert time.monotonic() - started >= 0.199


async def test_a_client_that_leaves_is_counted(http: aiohttp.ClientSession, book: AnswerBook, log: RoutingLog) -> None:
    with PlaybackServer(book, time_scale=0.2) as server:
        async with http.post(f"{server.base_url}/chat/completions", json=chat(log, stream=True)) as answer:
            assert answer.status == 200
            answer.close()
        for _ in range(500):
            if server.counts["left"]:
                break
            await asyncio.sleep(0.005)
        assert server.counts["left"] == 1


async def test_the_clock_dates_answers(http: aiohttp.ClientSession, book: AnswerBook, log: RoutingLog) -> None:
    with PlaybackServer(book, time_scale=0, clock=ManualClock(start_s=1_234_567.9)) as server:
        async with http.post(f"{server.base_url}/chat/completions", json=chat(log)) as answer:
            assert (await answer.json())["created"] == 1_234_567


def test_specs_of_the_llms(server: PlaybackServer) -> None:
    specs = server.llm_specs(context_window=5000, timeout_s=9.0)
    assert [spec.name for spec in specs] == [llm.name for llm in SYNTHETIC_LLMS]
    for spec, llm in zip(specs, SYNTHETIC_LLMS, strict=True):
        assert spec.price == llm.price
        assert spec.api_base == server.base_url
        assert (spec.context_window, spec.timeout_s) == (5000, 9.0)
        assert Capability.TOOLS in spec.capabilities
    assert server.llm_specs()[0].context_window == 128_000


async def test_the_clients_of_the_project_can_call_it(
    server: PlaybackServer, log: RoutingLog, book: AnswerBook
) -> None:
    spec = server.llm_specs()[0]
    client = OpenAIClient(environ={})
    body = b'{"model":"atlas-large","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
    async with client.stream(spec, path="/chat/completions", body=body) as stream:
        events = [event async for event in stream.events()]
    await client.close()
    assert events[-1] == b"[DONE]"
    assert len(events) > 3


def test_ports(book: AnswerBook) -> None:
    with PlaybackServer(book) as first, PlaybackServer(book) as second:
        assert first.port != second.port > 0
        assert get(f"{first.root_url}/health") == get(f"{second.root_url}/health") == {"status": "ok"}
        with pytest.raises(InvalidValueError, match="free to listen on"), PlaybackServer(book, port=first.port):
            pass
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", first.port)) != 0
    for port in (-1, 65_536):
        with pytest.raises(InvalidValueError, match="port must be between 0 and 65535"):
            PlaybackServer(book, port=port)
        with pytest.raises(InvalidValueError, match="port must be between 0 and 65535"):
            serve(book, port=port)


def test_ipv6(book: AnswerBook) -> None:
    server = PlaybackServer(book, host="::1", port=1)
    assert server.base_url == "http://[::1]:1/v1"


async def test_closing_does_not_wait_for_hanging_answers(
    http: aiohttp.ClientSession, book: AnswerBook, log: RoutingLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    threads = threading.active_count()
    with PlaybackServer(book, faults={LLM: [Hang()], "ember-mini": [Slow(add_s=60.0)]}) as server:
        url = f"{server.base_url}/chat/completions"
        bodies = [
            chat(log),
            chat(log, stream=True),
            chat(log, model="ember-mini"),
            chat(log, model="boreal-pro", stream=True),
        ]
        calls = [asyncio.ensure_future(http.post(url, json=body)) for body in bodies]
        while server.counts["requests"] < len(bodies):
            await asyncio.sleep(0.005)
        started = time.monotonic()
        await asyncio.to_thread(server.__exit__, None, None, None)
        assert time.monotonic() - started < 5
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, aiohttp.ClientError) for result in results)
    assert [record.getMessage() for record in caplog.records] == []
    assert threading.active_count() <= threads + 1  # the one that asyncio.to_thread keeps


def test_the_context_may_be_entered_again(book: AnswerBook) -> None:
    server = PlaybackServer(book, time_scale=0)
    for _ in range(2):
        with server:
            assert get(f"{server.root_url}/health") == {"status": "ok"}
    server.__exit__(None, None, None)


async def call_app(app: Starlette, body: dict[str, Any]) -> tuple[int, bytes]:
    """Call an application as another ASGI server would, without the project's extension."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    path = "/v1/chat/completions"
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "query_string": b"",
    }
    await app(scope | {"http_version": "1.1", "asgi": {"version": "3.0"}, "root_path": ""}, receive, send)
    status = sent[0]["status"] if sent else 0
    return status, b"".join(message.get("body", b"") for message in sent)


async def test_the_app_runs_under_any_asgi_server(book: AnswerBook, log: RoutingLog) -> None:
    faults: dict[str, list[Fault]] = {"boreal-pro": [Garbage()], "ember-mini": [ConnectionDrop()]}
    app = playback_app(book, time_scale=0, faults=faults)
    status, body = await call_app(app, chat(log))
    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == book.answer(LLM, log.prompts[0]).text
    assert (await call_app(app, chat(log, model="boreal-pro")))[1].startswith(b"<html>")
    assert await call_app(app, chat(log, model="ember-mini")) == (0, b"")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("time_scale", -1.0), ("time_scale", float("nan")), ("chunk_tokens", 0), ("keep_requests", -1)],
)
def test_refuses_bad_parameters(book: AnswerBook, parameter: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=f"{parameter} must be"):
        playback_app(book, **{parameter: value})  # type: ignore[arg-type]


def test_refuses_faults_of_llms_it_does_not_know(book: AnswerBook) -> None:
    with pytest.raises(UnknownLLMError):
        playback_app(book, faults={"nobody": [Garbage()]})


def test_serving_in_the_foreground_until_interrupted() -> None:
    code = (
        "import os\n"
        "from mixllm.playback import AnswerBook, synthetic_log\n"
        "from mixllm.playback.serve import serve\n"
        "book = AnswerBook(log=synthetic_log(queries=8))\n"
        "serve(book, port=0, time_scale=0, on_ready=lambda url: print(url, flush=True))\n"
        "print('stopped', flush=True)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        base_url = process.stdout.readline().strip()
        assert get(f"{base_url}/models")["data"][0]["id"] == LLM
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().strip() == "stopped"
        assert process.stderr.read() == ""
        assert process.wait(timeout=20) == 0


def test_without_the_extra_it_is_named() -> None:
    code = (
        "import sys; sys.modules['starlette'] = sys.modules['starlette.applications'] = None\n"
        "import mixllm.playback\n"
        "assert 'uvicorn' not in sys.modules\n"
        "from mixllm.errors import MissingExtraError\n"
        "mixllm.playback.AnswerBook(log=mixllm.playback.synthetic_log(queries=8))\n"
        "for name in ('playback_app', 'PlaybackServer'):\n"
        "    try:\n        getattr(mixllm.playback, name)\n"
        "    except MissingExtraError as error:\n        print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.count("pip install 'mixllm[gateway]'") == 2


async def test_with_a_capacity_the_rest_wait_in_their_order(log: RoutingLog, http: aiohttp.ClientSession) -> None:
    book = AnswerBook(log=log)
    with PlaybackServer(book, time_scale=0.2, capacity=2) as server:
        url = f"{server.base_url}/chat/completions"
        usual_s = 0.2 * book.answer(LLM, log.prompts[0], None).latency_s

        async def ask(model: str) -> float:
            async with http.post(url, json=chat(log, model=model)) as answer:
                assert answer.status == 200
                await answer.read()
            return time.monotonic()

        started_s = time.monotonic()
        ends_s = await asyncio.gather(*(ask(LLM) for _ in range(4)), ask("boreal-pro"))
        took = sorted((end - started_s) / usual_s for end in ends_s[:4])
        assert took[1] < 1.6 < 1.9 < took[2], "two at a time"
        assert took[3] < 3.0
    with pytest.raises(InvalidValueError, match="capacity"):
        playback_app(book, capacity=0)
