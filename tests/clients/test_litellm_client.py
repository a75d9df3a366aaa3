"""LiteLLM as a client, against a server that speaks Anthropic's protocol; what `check_client` asks, in other words.

The shared suite compares bytes, which a client that translates cannot keep.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.clients.anthropic_wire import message, refusal, stream
from tests.clients.wire import Handler, WireServer, http_answer, open_wire, say, silence, sse_answer
from tests.gateway.running import closed_port

from mixllm.clients import DONE, ClientByProvider, LiteLLMClient, OpenAIClient
from mixllm.errors import UpstreamError, UpstreamProtocolError, UpstreamStatusError, UpstreamTimeoutError
from mixllm.types import LLMSpec, Secret

PATH = "/chat/completions"
CHAT: dict[str, Any] = {"model": "x", "messages": [{"role": "user", "content": "Grüße"}], "max_tokens": 20}


@pytest.fixture
async def client() -> AsyncIterator[LiteLLMClient]:
    made = LiteLLMClient(environ={}, secrets={"claude": Secret("sk-secret")})
    yield made
    await made.close()


@asynccontextmanager
async def claude(*handlers: Handler, timeout_s: float = 20.0) -> AsyncIterator[tuple[WireServer, LLMSpec]]:
    async with open_wire(*handlers) as wire:
        base = wire.base_url.removesuffix("/v1")
        yield (
            wire,
            LLMSpec(name="claude", model="claude-test", provider="anthropic", api_base=base, timeout_s=timeout_s),
        )


async def complete(client: LiteLLMClient, spec: LLMSpec, **fields: Any) -> Any:
    reply = await client.complete(spec, path=PATH, body=json.dumps({**CHAT, **fields}).encode())
    return json.loads(reply.body)


async def streamed(client: LiteLLMClient, spec: LLMSpec, into: list[bytes] | None = None, **fields: Any) -> list[bytes]:
    events = [] if into is None else into
    body = json.dumps({**CHAT, "stream": True, **fields}).encode()
    async with client.stream(spec, path=PATH, body=body) as opened:
        async for event in opened.events():
            events.append(event)
    return events


async def test_an_answer_comes_in_openai_s_shape(client: LiteLLMClient) -> None:
    async with claude(say(message("hi there"))) as (wire, spec):
        answer = await complete(client, spec)

    assert answer["choices"][0]["message"]["content"] == "hi there"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (8, 7)
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 3
    (arrived,) = wire.requests
    assert arrived.path == "/v1/messages"
    assert arrived.headers["x-api-key"] == "sk-secret"
    sent = json.loads(arrived.body)
    assert sent["model"] == "claude-test"
    assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Grüße"}]}]


async def test_tools_go_out_and_come_back(client: LiteLLMClient) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    async with claude(say(message(tool={"city": "Oslo"}))) as (wire, spec):
        answer = await complete(client, spec, tools=[tool])

    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    assert json.loads(wire.requests[0].body)["tools"][0]["name"] == "weather"


async def test_a_stream_comes_in_openai_s_chunks_with_its_usage(client: LiteLLMClient) -> None:
    async with claude(say(stream("a", "b"))) as (_, spec):
        *chunks, done = await streamed(client, spec, stream_options={"include_usage": True})

    decoded = [json.loads(chunk) for chunk in chunks]
    text = "".join(choice["delta"].get("content") or "" for chunk in decoded for choice in chunk["choices"])
    assert (text, done) == ("ab", DONE)
    usage = [chunk["usage"] for chunk in decoded if chunk.get("usage")][-1]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (5, 7)


async def test_a_broken_stream_is_reported_after_its_events(client: LiteLLMClient) -> None:
    events: list[bytes] = []
    async with claude(say(stream("a", "b", whole=False), keep=False)) as (_, spec):
        with pytest.raises(UpstreamProtocolError, match="claude"):
            await streamed(client, spec, events)

    assert any(b'"content":"a"' in event for event in events)
    assert DONE not in events


async def test_an_error_status_is_one(client: LiteLLMClient) -> None:
    answer = refusal(429, "rate_limit_error", headers=("retry-after: 7",))
    async with claude(say(answer)) as (wire, spec):
        for call in (complete, streamed):
            with pytest.raises(UpstreamStatusError) as raised:
                await call(client, spec)
            assert (raised.value.status, raised.value.retry_after_s) == (429, 7.0)
            assert "slow down" in json.loads(raised.value.body)["error"]["message"]
            assert "slow down" not in str(raised.value)

    assert len(wire.requests) == 2  # no retries of the library's own


@pytest.mark.parametrize("answer", [http_answer(b"<html>"), http_answer(b"[1]"), http_answer(b"")])
async def test_what_is_no_answer_is_an_error(client: LiteLLMClient, answer: bytes) -> None:
    async with claude(say(answer)) as (_, spec):
        with pytest.raises(UpstreamError):
            await complete(client, spec)


async def test_it_gives_up_after_the_time_limit(client: LiteLLMClient) -> None:
    await complete_once(client)  # loads the library
    for begun in (b"", sse_answer(b"event: ping\ndata: {}\n\n", whole=False)[:-1]):
        async with claude(silence(begun), timeout_s=0.3) as (_, spec):
            with pytest.raises(UpstreamTimeoutError, match="timeout_s"):
                await streamed(client, spec)


async def complete_once(client: LiteLLMClient) -> None:
    async with claude(say(message())) as (_, spec):
        await complete(client, spec)


async def test_an_endpoint_that_is_down_is_an_error(client: LiteLLMClient) -> None:
    spec = LLMSpec(name="claude", provider="anthropic", api_base=f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(UpstreamError) as raised:
        await complete(client, spec)

    assert raised.value.llm == "claude"


async def test_a_stream_can_be_left_early_and_calls_go_side_by_side(client: LiteLLMClient) -> None:
    async with claude(say(stream("a", "b")), say(message())) as (_, spec):
        async with client.stream(spec, path=PATH, body=json.dumps({**CHAT, "stream": True}).encode()) as opened:
            await anext(aiter(opened.events()))
        answers = await asyncio.gather(*(complete(client, spec) for _ in range(4)))

    assert [answer["choices"][0]["message"]["content"] for answer in answers] == ["hi"] * 4


async def test_nothing_is_called_once_closed(client: LiteLLMClient) -> None:
    await client.close()
    await client.close()
    async with claude(say(message())) as (wire, spec):
        for call in (complete, streamed):
            with pytest.raises(UpstreamError, match="closed"):
                await call(client, spec)

    assert wire.requests == []


async def test_a_request_cannot_change_the_library_s_settings(client: LiteLLMClient) -> None:
    async with claude(say(message())) as (wire, spec), open_wire(say(message())) as elsewhere:
        await complete(
            client,
            spec,
            api_base=elsewhere.base_url,
            base_url=elsewhere.base_url,
            api_key="sk-mine",
            extra_headers={"x-evil": "1"},
            mock_response="hello",
            custom_llm_provider="openai",
        )

    assert elsewhere.requests == []
    assert wire.requests[0].headers["x-api-key"] == "sk-secret"
    assert "x-evil" not in wire.requests[0].headers


async def test_an_unknown_path_is_refused(client: LiteLLMClient) -> None:
    spec = LLMSpec(name="claude", provider="anthropic")
    with pytest.raises(UpstreamError, match="/responses"):
        await client.complete(spec, path="/responses", body=b"{}")


async def test_each_llm_has_the_client_of_its_protocol(client: LiteLLMClient) -> None:
    both = ClientByProvider(openai=OpenAIClient(environ={}), others=client)
    answer = http_answer(b'{"choices":[],"x":1.0}')
    async with claude(say(message())) as (_, theirs), open_wire(say(answer)) as wire:
        plain = LLMSpec(name="plain", api_base=wire.base_url)
        own = await both.complete(theirs, path=PATH, body=json.dumps(CHAT).encode())
        passed = await both.complete(plain, path=PATH, body=b"{}")
    await both.close()

    assert json.loads(own.body)["object"] == "chat.completion"
    assert passed.body == b'{"choices":[],"x":1.0}'
