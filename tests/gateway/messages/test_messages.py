"""Anthropic's own client against the gateway."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import pytest
from anthropic.types import MessageParam, ToolParam
from tests.clients.wire import http_answer, open_wire, say, sse_answer
from tests.gateway.running import Gateway, Reply, config_for, eventually

from mixllm.playback import TOOL_CALL_MARKER, AnswerBook, BrokenStream, ErrorStatus, PlaybackServer
from mixllm.types import LLMSpec, Price

LLM = "atlas-large"
QUESTION: list[MessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: ToolParam = {
    "name": "weather",
    "description": "The weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PIXEL = "iVBORw0KGgo="


@pytest.fixture
def claude(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0, timeout=30) as opened:
        yield opened


def post(gateway: Gateway, **fields: object) -> Reply:
    return gateway.ask("POST", "/v1/messages", {"model": LLM, "max_tokens": 50, "messages": QUESTION, **fields})


def test_a_plain_answer_with_the_gateway_s_headers(
    claude: anthropic.Anthropic, gateway: Gateway, book: AnswerBook
) -> None:
    text = book.log.prompts[0]

    raw = claude.messages.with_raw_response.create(
        model="mixllm/auto", max_tokens=4000, messages=[{"role": "user", "content": text}]
    )

    answer = raw.parse()
    recorded = book.answer(answer.model, text)
    assert [block.text for block in answer.content if block.type == "text"] == [recorded.text]
    assert (answer.role, answer.type, answer.stop_reason) == ("assistant", "message", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (recorded.tokens_in, recorded.tokens_out)
    assert raw.headers["x-mixllm-model"] == answer.model
    (outcome,) = gateway.outcomes_of(raw.headers["x-mixllm-inference-id"])
    assert outcome["status"] == "ok"
    assert float(raw.headers["x-mixllm-cost-usd"]) == pytest.approx(outcome["cost_usd"], abs=1e-9)


async def test_the_async_client_streams(gateway: Gateway, book: AnswerBook) -> None:
    text = book.log.prompts[1]
    async with (
        anthropic.AsyncAnthropic(base_url=gateway.url, api_key="unused", max_retries=0) as opened,
        opened.messages.stream(model=LLM, max_tokens=4000, messages=[{"role": "user", "content": text}]) as stream,
    ):
        pieces = [piece async for piece in stream.text_stream]
        final = await stream.get_final_message()

    recorded = book.answer(LLM, text)
    assert "".join(pieces) == recorded.text
    assert len(pieces) > 2
    assert (final.model, final.stop_reason) == (LLM, "end_turn")
    assert final.usage.output_tokens == recorded.tokens_out


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_and_their_results_taken(
    claude: anthropic.Anthropic, playback: PlaybackServer, *, stream: bool
) -> None:
    chat: list[MessageParam] = [{"role": "user", "content": f"Weather in Oslo? {TOOL_CALL_MARKER}"}]
    asked: Any = {"model": LLM, "max_tokens": 100, "tools": [WEATHER], "tool_choice": {"type": "auto"}}

    if stream:
        with claude.messages.stream(messages=chat, **asked) as events:
            answer = events.get_final_message()
    else:
        answer = claude.messages.create(messages=chat, **asked)
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    chat += [
        {"role": "assistant", "content": [call.model_dump(include={"type", "id", "name", "input"})]},  # type: ignore[misc,list-item]
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]},
    ]
    end = claude.messages.create(messages=chat, **asked)

    assert answer.stop_reason == "tool_use"
    assert call.name == "weather"
    assert set(call.input) == {"city"}
    assert end.stop_reason == "end_turn"
    sent = msgspec.json.decode(playback.requests(1)[0].body)
    assert sent["messages"][-1] == {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["weather"]


def test_system_images_and_limits_become_openai_s(gateway: Gateway, playback: PlaybackServer) -> None:
    plain = playback.llm_specs()[0]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    spec = msgspec.structs.replace(plain, name="seeing", model=plain.name, capabilities=frozenset({"vision"}))

    with gateway.with_llm(spec):
        reply = post(
            gateway,
            model="mixllm/auto",
            system=[{"type": "text", "text": "Be brief."}],
            messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}],
            stop_sequences=["END"],
            temperature=0.5,
            top_k=3,
            mixllm={"max_cost_usd": 1},
        )

    assert reply.json["model"] == "seeing"
    sent = msgspec.json.decode(playback.requests(1)[0].body)
    assert sent["messages"][0] == {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert sent["messages"][1]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    assert (sent["stop"], sent["temperature"], sent["max_tokens"], sent["top_k"]) == (["END"], 0.5, 50, 3)
    assert "mixllm" not in sent
    assert gateway.ask("GET", f"/v1/decisions/{reply.inference_id}").json["decision"]["llm"] == "seeing"


def test_errors_have_anthropic_s_shape(claude: anthropic.Anthropic, gateway: Gateway, playback: PlaybackServer) -> None:
    def call(model: str = LLM, **fields: Any) -> None:
        claude.messages.create(model=model, max_tokens=10, messages=QUESTION, **fields)

    with pytest.raises(anthropic.NotFoundError, match="Did you mean"):
        call("atlas-larg")
    playback.put_faults(LLM, ErrorStatus(status=429, retry_after_s=3))
    with pytest.raises(anthropic.RateLimitError) as limited:
        call()
    playback.put_faults(LLM, ErrorStatus(status=500))
    with pytest.raises(anthropic.InternalServerError):
        call()

    assert limited.value.response.headers["retry-after"] == "3"
    assert limited.value.response.headers["x-mixllm-model"] == LLM
    body: Any = limited.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"messages": []}, 400, "invalid_request_error"),
        ({"messages": "hi"}, 400, "invalid_request_error"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, 400, "invalid_request_error"),
        ({"messages": [{"role": "user"}]}, 400, "invalid_request_error"),
        ({"messages": [7]}, 400, "invalid_request_error"),
        ({"model": None}, 400, "invalid_request_error"),
        ({"model": "mixllm/atuo"}, 400, "invalid_request_error"),
        ({"mixllm": {"max_cost_usd": 0}, "model": "mixllm/auto"}, 422, "invalid_request_error"),
    ],
)
def test_what_cannot_be_asked_is_refused(gateway: Gateway, fields: dict[str, Any], status: int, kind: str) -> None:
    reply = post(gateway, **fields)

    assert reply.status == status
    assert sorted(reply.json) == ["error", "type"]
    assert reply.json["error"]["type"] == kind
    assert reply.json["error"]["message"]


def test_a_stream_that_breaks_ends_with_anthropic_s_error(gateway: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults(LLM, BrokenStream(after_chunks=3))

    reply = post(gateway, stream=True)

    *_, last = reply.body.decode().strip().split("\n\n")
    assert last.startswith("event: error\ndata: ")
    assert json.loads(last.partition("data: ")[2])["error"]["type"] == "api_error"
    assert b"message_stop" not in reply.body
    (outcome,) = gateway.outcomes_of(reply.inference_id)
    assert outcome["status"] == "broken_stream"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_no_adapter_can_read_is_an_error_of_the_upstream(gateway: Gateway, *, stream: bool) -> None:
    body = b'{"choices":[7],"model":"wired"}'
    answer = sse_answer(b"data: " + body + b"\n\ndata: [DONE]\n\n") if stream else http_answer(body)
    async with open_wire(say(answer)) as wire:
        price = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=2)
        with gateway.with_llm(LLMSpec(name="wired", api_base=wire.base_url, price=price)):
            reply = await asyncio.to_thread(post, gateway, model="wired", stream=stream)

    assert b'"type":"api_error"' in reply.body
    assert reply.status == (200 if stream else 502)


def test_tokens_are_estimated(claude: anthropic.Anthropic) -> None:
    short = claude.messages.count_tokens(model="mixllm/auto", messages=QUESTION)
    long = claude.messages.count_tokens(
        model="mixllm/auto", messages=QUESTION, tools=[WEATHER], system="Be brief. " * 20
    )

    assert 5 <= short.input_tokens <= 12
    assert long.input_tokens > short.input_tokens + 50


def test_the_key_comes_in_anthropic_s_header(pool: PlaybackServer, tmp_path: Path) -> None:
    config = config_for(pool, tmp_path / "keys.db", [LLM], gateway={"api_keys": ["sk-right"]})
    body = {"model": LLM, "max_tokens": 5, "messages": QUESTION}
    with Gateway(config) as guarded:
        statuses = [
            guarded.ask("POST", "/v1/messages", body, headers).status
            for headers in ({"x-api-key": "sk-right"}, {"authorization": "Bearer sk-right"}, {"x-api-key": "no"}, {})
        ]
        elsewhere = guarded.ask("GET", "/v1/models", headers={"x-api-key": "sk-right"})

    assert statuses == [200, 200, 401, 401]
    assert elsewhere.status == 401


def test_without_the_library_the_answer_tells_what_to_install(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["litellm"] = None
from mixllm.gateway.messages.translation import MessagesTranslation
from mixllm.gateway.answers import error_response
try:
    MessagesTranslation({"model": "mixllm/auto", "messages": [{"role": "user", "content": "hi"}]})
except Exception as error:
    answer = error_response(error)
    print(answer.status_code, answer.body.decode())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("501 ")
    assert "pip install 'mixllm[providers]'" in done.stdout


def test_a_client_that_leaves_cancels_the_llm_s_work(book: AnswerBook, tmp_path: Path) -> None:
    with (
        PlaybackServer(book, time_scale=0.2) as slow,
        Gateway(config_for(slow, tmp_path / "slow.db", [LLM])) as gateway,
        anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0) as client,
    ):
        with client.messages.create(
            model=LLM, max_tokens=4000, messages=[{"role": "user", "content": book.log.prompts[0]}], stream=True
        ) as stream:
            next(iter(stream))
            assert gateway.in_flight() == 1

        assert eventually(lambda: slow.counts["left"] == 1)
        assert eventually(lambda: gateway.in_flight() == 0)
        gateway.router.store.flush()
        (newest,) = gateway.router.store.decisions(limit=1)
    assert [outcome.status for outcome in newest.outcomes] == ["cancelled"]


def test_a_gateway_that_stops_says_so_in_anthropic_s_shape(book: AnswerBook, tmp_path: Path) -> None:
    with PlaybackServer(book, time_scale=8) as slow:
        gateway = Gateway(config_for(slow, tmp_path / "stop.db", [LLM]))
        with gateway, anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0) as client:
            stream = client.messages.create(model=LLM, max_tokens=4000, messages=QUESTION, stream=True)
            assert next(iter(stream)).type == "message_start"
            gateway._server.should_exit = True

            with pytest.raises(anthropic.APIStatusError, match="stopping"):
                list(stream)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_more_messages_than_any_conversation_has_are_refused_before_they_are_read(gateway: Gateway, path: str) -> None:
    reply = gateway.ask("POST", path, {"model": LLM, "max_tokens": 1, "messages": QUESTION * 10_001})

    assert reply.status == 400
    assert "messages holds more than 10000" in reply.json["error"]["message"]
