"""Upstreams that fail: what the client is told, and what is recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import openai
import pytest
from tests.clients.wire import Handler, http_answer, open_wire, say, silence, sse_answer
from tests.gateway.running import Gateway, Reply, closed_port, eventually

from mixllm.learning.model_making import TIME_PARTS
from mixllm.playback import BrokenStream, ConnectionDrop, EmptyAnswer, ErrorStatus, Garbage, Hang, PlaybackServer
from mixllm.types import LLMSpec, Price

LLM = "atlas-large"
FREE = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=2)
ANSWER: dict[str, Any] = {
    "id": "1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"content": "hi"}}],
}
CHUNK: dict[str, Any] = {
    "id": "1",
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "a"}}],
}


@pytest.fixture
def untouched(gateway: Gateway) -> Iterator[Gateway]:
    """The gateway, which must have learned nothing and have nothing under way by the end of the test."""
    learned = gateway.learned()
    yield gateway
    now = gateway.learned()
    # Times are those of an endpoint: for an LLM that came back at another address they begin afresh.
    moved = [f"{row}.{part}" for row in _moved(learned, now) for part in ("endpoint", *TIME_PARTS)]
    kept = [name for name in learned if name.rpartition(".")[0] not in moved and name not in moved]
    assert {name: now[name] for name in kept} == {name: learned[name] for name in kept}
    assert gateway.in_flight() == 0


def _moved(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """Return the rows of those LLMs whose endpoint has changed."""
    return [name.removesuffix(".endpoint") for name in before if ".endpoint" in name and before[name] != after[name]]


async def wired(gateway: Gateway, handler: Handler, **fields: Any) -> Reply:
    """Ask an LLM that answers with exactly the bytes of `handler`."""
    async with open_wire(handler) as wire:
        spec = LLMSpec(name="wired", model="upstream-model", api_base=wire.base_url, price=FREE)
        with gateway.with_llm(spec):
            return await asyncio.to_thread(gateway.chat, "wired", **fields)


def outcome_of(gateway: Gateway, reply: Reply) -> dict[str, Any]:
    (outcome,) = gateway.outcomes_of(reply.inference_id)
    return outcome


def events_of(reply: Reply) -> list[bytes]:
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.body.endswith(b"\n\n")
    return [event.removeprefix(b"data: ") for event in reply.body.removesuffix(b"\n\n").split(b"\n\n")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (ErrorStatus(status=500), 502, "status 500"),
        (ErrorStatus(status=503, retry_after_s=4), 502, "status 503"),
        (ErrorStatus(status=401), 502, "Check its key"),
        (ErrorStatus(status=403), 502, "Check its key"),
        (ErrorStatus(status=400), 400, "Playback fault"),
        (ErrorStatus(status=429, retry_after_s=7), 429, "Playback fault"),
        (ConnectionDrop(), 502, "closed the connection"),
        (Garbage(), 502, "not a JSON object"),
        (BrokenStream(after_chunks=0), 502, "broke|before"),
    ],
)
def test_an_upstream_that_fails_is_an_error_with_a_status(
    untouched: Gateway, playback: PlaybackServer, fault: Any, status: int, words: str, *, stream: bool
) -> None:
    playback.put_faults(LLM, fault)

    reply = untouched.chat(LLM, stream=stream)

    assert reply.status == status
    assert any(word in reply.error["message"] for word in words.split("|"))
    assert reply.headers["x-mixllm-model"] == LLM
    retry_after_s = getattr(fault, "retry_after_s", None)
    assert reply.headers.get("retry-after") == (None if retry_after_s is None else str(retry_after_s))
    outcome = outcome_of(untouched, reply)
    assert outcome["status"] == "error"
    assert outcome["streamed"] is stream
    assert outcome["cost_usd"] is None
    assert outcome["error"].startswith("Upstream")


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_is_down_is_named(untouched: Gateway, *, stream: bool) -> None:
    port = closed_port()
    spec = LLMSpec(name="down", api_base=f"http://127.0.0.1:{port}/v1", price=FREE)

    with untouched.with_llm(spec):
        reply = untouched.chat("down", stream=stream)

    assert reply.status == 502
    assert "'down'" in reply.error["message"]
    assert str(port) in reply.error["message"]
    assert outcome_of(untouched, reply)["status"] == "error"


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_takes_too_long_is_a_timeout(
    untouched: Gateway, playback: PlaybackServer, *, stream: bool
) -> None:
    playback.put_faults(LLM, Hang())
    spec = msgspec.structs.replace(playback.llm_specs()[0], name="late", model=LLM, timeout_s=0.1)

    with untouched.with_llm(spec):
        reply = untouched.chat("late", stream=stream)

    assert reply.status == 504
    assert reply.error["code"] == "upstream_timeout"
    assert "timeout_s" in reply.error["message"]
    outcome = outcome_of(untouched, reply)
    assert outcome["status"] == "timeout"
    assert outcome["latency_s"] == pytest.approx(0.1, abs=0.05) or outcome["latency_s"] > 0.1  # timers may be early


def test_an_empty_answer_is_an_answer(gateway: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults(LLM, EmptyAnswer())

    plain, stream = gateway.chat(LLM), gateway.chat(LLM, stream=True)

    assert plain.json["choices"][0]["message"]["content"] == ""
    assert events_of(stream)[-1] == b"[DONE]"
    assert [outcome_of(gateway, reply)["status"] for reply in (plain, stream)] == ["ok", "ok"]


def test_a_plain_answer_that_breaks_off_is_an_error(untouched: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults(LLM, BrokenStream())

    reply = untouched.chat(LLM)

    assert reply.status == 502
    assert outcome_of(untouched, reply)["status"] == "error"


def test_a_stream_that_breaks_ends_with_a_clean_error(untouched: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults(LLM, BrokenStream(after_chunks=2))

    reply = untouched.chat(LLM, stream=True)

    *chunks, last = events_of(reply)
    assert reply.status == 200
    assert len(chunks) == 2
    error = json.loads(last)["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert error["code"] == "upstream_error"
    assert "[DONE]" in error["message"]
    outcome = outcome_of(untouched, reply)
    assert outcome["status"] == "broken_stream"
    assert outcome["ttft_s"] is not None


def test_openai_s_client_raises_where_a_stream_breaks(client: openai.OpenAI, playback: PlaybackServer) -> None:
    playback.put_faults(LLM, BrokenStream(after_chunks=2))
    stream = client.chat.completions.create(model=LLM, messages=[{"role": "user", "content": "x"}], stream=True)
    chunks = [next(stream), next(stream)]

    with pytest.raises(openai.APIError, match="ended before"):
        next(stream)

    assert [chunk.model for chunk in chunks] == [LLM, LLM]


def test_openai_s_client_raises_its_own_errors(client: openai.OpenAI, playback: PlaybackServer) -> None:
    def call() -> None:
        client.chat.completions.create(model=LLM, messages=[{"role": "user", "content": "x"}])

    playback.put_faults(LLM, ErrorStatus(status=429, retry_after_s=1))
    with pytest.raises(openai.RateLimitError) as limited:
        call()
    playback.put_faults(LLM, ErrorStatus(status=500))
    with pytest.raises(openai.InternalServerError):
        call()
    playback.put_faults(LLM, ErrorStatus(status=400))
    with pytest.raises(openai.BadRequestError):
        call()
    assert limited.value.response.headers["retry-after"] == "1"


def test_a_failure_that_passes_is_tried_again_by_openai_s_client(gateway: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults(LLM, ErrorStatus(status=503, limit=1))

    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=1) as patient:
        answer = patient.chat.completions.create(model=LLM, messages=[{"role": "user", "content": "x"}])

    assert answer.model == LLM


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(b""),
        http_answer(b"", headers=()),
        http_answer(b"<html>hi</html>", headers=["Content-Type: text/html"]),
        http_answer(b"[]"),
        http_answer(b'"text"'),
        http_answer(b'{"error":{"message":"secret words"}}'),
        http_answer(b"{}", status=204),
        http_answer(b"", status=307, headers=["Location: http://127.0.0.1:9/"]),
        http_answer(b"{}", headers=["Content-Type: application/json", "Content-Encoding: gzip"]),
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_answer_is_an_error(untouched: Gateway, answer: bytes, *, stream: bool) -> None:
    reply = await wired(untouched, say(answer, keep=False), stream=stream)

    assert reply.status == 502
    assert reply.error["code"] == "upstream_error"
    assert b"secret words" not in reply.body
    assert outcome_of(untouched, reply)["status"] == "error"


@pytest.mark.parametrize(
    ("events", "passed"),
    [
        (b"", 0),
        (b"data: <html>\n\n", 0),
        (b'data: {"error":{"message":"overloaded"}}\n\n', 0),
        (b"data: {}\n\ndata: nonsense\n\n", 1),
        (b'data: {}\n\ndata: {"error":{"message":"overloaded"}}\n\n', 1),
        (b'data: {}\n\ndata: {"\xff":1,"model":"x"}\n\n', 1),
    ],
)
async def test_a_stream_of_something_else_is_an_error(untouched: Gateway, events: bytes, passed: int) -> None:
    reply = await wired(untouched, say(sse_answer(events)), stream=True)

    outcome = outcome_of(untouched, reply)
    if passed:
        assert reply.status == 200
        assert "error" in json.loads(events_of(reply)[passed])
        assert outcome["status"] == "broken_stream"
    else:
        assert reply.status == 502
        assert reply.error["code"] == "upstream_error"
        assert outcome["status"] == "error"


async def test_an_answer_gets_the_pool_s_name_and_keeps_everything_else(gateway: Gateway) -> None:
    body = rb'{"id":"1","choices":[{"x":1.0,"y":1e400}],"model":"other","u":"\u0041","usage":null}'

    reply = await wired(gateway, say(http_answer(body)))

    assert reply.body == body.replace(b'"other"', b'"wired"')
    outcome = outcome_of(gateway, reply)
    assert (outcome["status"], outcome["tokens_out"], outcome["cost_usd"]) == ("ok", None, None)
    assert "x-mixllm-cost-usd" not in reply.headers


async def test_chunks_keep_their_fields_and_their_lines(gateway: Gateway) -> None:
    stream = (
        b': ping\n\ndata: {"choices":[{"delta":{"content":"a"},"x":1.0}],\ndata: "more":{"y":1e400}}\n\n'
        b'data: {"model":"other","choices":[],\ndata: "filter":[\ndata: 1.0]}\n\ndata: [DONE]\n\n'
    )

    reply = await wired(gateway, say(sse_answer(stream)), stream=True)

    assert reply.body == (
        b'data: {"choices":[{"delta":{"content":"a"},"x":1.0}],\ndata: "more":{"y":1e400}}\n\n'
        b'data: {"model":"wired","choices":[],"filter":[\ndata: 1.0]}\n\ndata: [DONE]\n\n'
    )
    assert outcome_of(gateway, reply)["tokens_out"] == 1


@pytest.mark.parametrize("include_usage", [False, True])
async def test_usage_beside_a_choice_is_never_taken_out(gateway: Gateway, *, include_usage: bool) -> None:
    last = json.dumps({**CHUNK, "model": "wired", "usage": {"prompt_tokens": 3, "completion_tokens": 9}}).encode()
    options = {"stream_options": {"include_usage": True}} if include_usage else {}

    reply = await wired(gateway, say(sse_answer(b"data: " + last + b"\n\ndata: [DONE]\n\n")), stream=True, **options)

    assert events_of(reply) == [last, b"[DONE]"]
    outcome = outcome_of(gateway, reply)
    assert (outcome["tokens_in"], outcome["tokens_out"]) == (3, 9)
    assert outcome["cost_usd"] == pytest.approx(21e-6)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 5, "completion_tokens": 10**17},
        {"prompt_tokens": 5, "completion_tokens": 10**30},
        {"prompt_tokens": "five"},
        "none",
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_usage_that_cannot_be_does_no_harm(gateway: Gateway, usage: object, *, stream: bool) -> None:
    body = json.dumps({**(CHUNK if stream else ANSWER), "usage": usage}).encode()
    answer = sse_answer(b"data: " + body + b"\n\ndata: [DONE]\n\n") if stream else http_answer(body)
    refused = gateway.router.learner.counts.refused

    reply = await wired(gateway, say(answer), stream=stream)

    assert reply.status == 200
    outcome = outcome_of(gateway, reply)
    assert outcome["status"] == "ok"
    assert outcome["tokens_out"] == (1 if stream else None)
    assert gateway.in_flight() == 0
    gateway.router.learn()
    assert gateway.router.learner.counts.refused == refused


async def test_cached_and_reasoning_tokens_are_kept(gateway: Gateway) -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 80},
        "completion_tokens_details": {"reasoning_tokens": 40},
    }

    reply = await wired(gateway, say(http_answer(json.dumps({**ANSWER, "usage": usage}).encode())))

    outcome = outcome_of(gateway, reply)
    assert (outcome["cached_tokens_in"], outcome["reasoning_tokens"]) == (80, 40)
    assert reply.headers["x-mixllm-cost-usd"] == "0.000200000"


@pytest.mark.parametrize(("cost", "charged"), [(0.25, 0.25), ({"total": 1}, 200e-6), (-1, 200e-6)])
async def test_the_billed_cost_goes_before_the_price(gateway: Gateway, cost: object, charged: float) -> None:
    body = json.dumps({**ANSWER, "usage": {"prompt_tokens": 100, "completion_tokens": 50, "cost": cost}}).encode()

    reply = await wired(gateway, say(http_answer(body)))

    assert float(reply.headers["x-mixllm-cost-usd"]) == pytest.approx(charged)
    assert outcome_of(gateway, reply)["cost_usd"] == pytest.approx(charged)


async def test_a_wait_in_milliseconds_is_passed_on_in_whole_seconds(untouched: Gateway) -> None:
    answer = http_answer(b"busy", status=429, headers=["Content-Type: text/plain", "retry-after-ms: 1200"])

    reply = await wired(untouched, say(answer))

    assert reply.status == 429
    assert reply.error["type"] == "rate_limit_error"
    assert reply.headers["retry-after"] == "2"


async def test_a_stream_that_falls_silent_is_a_clean_timeout(untouched: Gateway) -> None:
    head = sse_answer(b'data: {"choices":[{}]}\n\n', whole=False)
    async with open_wire(silence(head)) as wire:
        spec = LLMSpec(name="silent", api_base=wire.base_url, price=FREE, timeout_s=0.1)
        with untouched.with_llm(spec):
            reply = await asyncio.to_thread(untouched.chat, "silent", stream=True)

    first, last = events_of(reply)
    assert json.loads(first) == {"choices": [{}]}
    assert json.loads(last)["error"]["code"] == "upstream_timeout"
    assert outcome_of(untouched, reply)["status"] == "broken_stream"


def test_a_fault_of_the_gateway_itself_is_recorded_and_tells_nothing(
    untouched: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("inner words")

    monkeypatch.setattr("mixllm.gateway.dialect.read_answer", broken)
    reply = untouched.chat(LLM)
    monkeypatch.undo()

    assert reply.status == 500
    assert "inner words" not in reply.error["message"]
    untouched.router.store.flush()
    newest = untouched.router.store.decisions(limit=1)
    assert [(outcome.status, outcome.error) for outcome in newest[0].outcomes] == [("error", "LookupError")]
    assert eventually(lambda: "LookupError" in caplog.text)
