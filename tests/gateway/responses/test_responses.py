"""The Responses API: passed on where the LLM has it, told as a chat where it has not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import openai
import pytest
from openai.types.responses import FunctionToolParam
from pydantic import BaseModel
from tests.clients.wire import Handler, Request, http_answer, open_wire, say, sse_answer
from tests.gateway.running import Gateway, Reply

from mixllm.playback import TOOL_CALL_MARKER, AnswerBook, BrokenStream, ErrorStatus, PlaybackServer
from mixllm.types import Endpoint, LLMSpec, Price

LLM = "atlas-large"
PRICE = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=2)
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
USAGE = (
    b'{"input_tokens":100,"input_tokens_details":{"cached_tokens":80},"output_tokens":50,'
    b'"output_tokens_details":{"reasoning_tokens":40},"total_tokens":150}'
)
BODY = (
    rb'{"id":"resp_1","object":"response","error":null,"x_unknown":[1.0,1e400],"output":[{"type":"message","id":"m",'
    rb'"role":"assistant","status":"completed","content":[{"type":"output_text","text":"\u0068i","annotations":[]}]}],'
    rb'"usage":' + USAGE + rb',"model":"theirs-2026"}'
)
EVENTS = (
    b'{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","output":[],"model":"theirs-2026"}}',
    b'{"type":"response.output_text.delta","sequence_number":1,"delta":"hi","x":1.0}',
    b'{"type":"response.completed","sequence_number":2,"response":' + BODY + b"}",
)


class Capital(BaseModel):
    city: str


async def wired(gateway: Gateway, handler: Handler, **fields: Any) -> tuple[Request, Reply]:
    async with open_wire(handler) as wire:
        endpoints = frozenset({Endpoint.RESPONSES})
        spec = LLMSpec(name="wired", model="theirs", api_base=wire.base_url, price=PRICE, endpoints=endpoints)
        with gateway.with_llm(spec):
            reply = await asyncio.to_thread(
                gateway.ask, "POST", "/v1/responses", {"model": "wired", "input": "hi", **fields}
            )
        return wire.requests[-1], reply


def sse(events: tuple[bytes, ...]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (json.loads(event.replace(b"1e400", b"1"))["type"].encode(), event)
        for event in events
    )


async def test_an_llm_that_has_it_gets_it_as_it_came(gateway: Gateway) -> None:
    asked = {"previous_response_id": "resp_0", "reasoning": {"effort": "low"}, "include": ["x"], "x_unknown": 1.0}

    arrived, reply = await wired(gateway, say(http_answer(BODY)), **asked)

    assert arrived.path == "/v1/responses"
    assert json.loads(arrived.body) == {"model": "theirs", "input": "hi", **asked}
    assert reply.body == BODY.replace(b'"theirs-2026"', b'"wired"')
    (outcome,) = gateway.outcomes_of(reply.inference_id)
    assert (outcome["tokens_in"], outcome["tokens_out"]) == (100, 50)
    assert (outcome["cached_tokens_in"], outcome["reasoning_tokens"]) == (80, 40)
    assert reply.headers["x-mixllm-cost-usd"] == "0.000200000"


async def test_its_stream_comes_back_with_its_events(gateway: Gateway) -> None:
    _, reply = await wired(gateway, say(sse_answer(sse(EVENTS))), stream=True)

    assert reply.body == sse(EVENTS).replace(b'"theirs-2026"', b'"wired"')
    (outcome,) = gateway.outcomes_of(reply.inference_id)
    assert (outcome["status"], outcome["tokens_in"], outcome["tokens_out"]) == ("ok", 100, 50)
    assert outcome["ttft_s"] is not None


async def test_its_stream_that_ends_too_soon_is_broken(gateway: Gateway) -> None:
    _, reply = await wired(gateway, say(sse_answer(sse(EVENTS[:2]))), stream=True)

    assert b'"error"' in reply.body
    (outcome,) = gateway.outcomes_of(reply.inference_id)
    assert outcome["status"] == "broken_stream"


def test_an_llm_that_has_not_is_told_it_as_a_chat(
    client: openai.OpenAI, playback: PlaybackServer, book: AnswerBook
) -> None:
    text = book.log.prompts[2]

    raw = client.responses.with_raw_response.create(
        model="mixllm/auto", instructions="Be brief.", input=text, max_output_tokens=4000, metadata={"a": "b"}
    )

    answer = raw.parse()
    recorded = book.answer(answer.model, text)
    assert answer.output_text == recorded.text
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (recorded.tokens_in, recorded.tokens_out)
    assert raw.headers["x-mixllm-model"] == answer.model
    kept = playback.requests(1)[0]
    assert kept.path == "/v1/chat/completions"
    sent = msgspec.json.decode(kept.body)
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert (sent["max_tokens"], sent["metadata"]) == (4000, {"a": "b"})


def test_the_translated_stream_is_one_for_openai_s_client(client: openai.OpenAI, book: AnswerBook) -> None:
    text = book.log.prompts[3]

    with client.responses.stream(model=LLM, input=text) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()

    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") > 2
    assert final.output_text == book.answer(LLM, text).text
    assert final.model == LLM


@pytest.mark.parametrize("stream", [False, True])
def test_functions_are_called_and_their_results_taken(
    client: openai.OpenAI, playback: PlaybackServer, *, stream: bool
) -> None:
    question: Any = {"role": "user", "content": f"Weather in Oslo? {TOOL_CALL_MARKER}"}
    if stream:
        with client.responses.stream(model=LLM, input=[question], tools=[WEATHER]) as events:
            answer: Any = events.get_final_response()
    else:
        answer = client.responses.create(model=LLM, input=[question], tools=[WEATHER])
    (call,) = [item for item in answer.output if item.type == "function_call"]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    called: Any = {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}

    end = client.responses.create(model=LLM, input=[question, called, result], tools=[WEATHER])

    assert call.name == "weather"
    assert set(json.loads(call.arguments)) == {"city"}
    assert end.output_text
    sent = msgspec.json.decode(playback.requests(1)[0].body)
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "background"])
def test_what_one_server_keeps_is_not_routed(gateway: Gateway, name: str) -> None:
    reply = gateway.ask("POST", "/v1/responses", {"model": "mixllm/auto", "input": "hi", name: True})

    assert reply.status == 400
    assert reply.error["param"] == name


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"input": 7}, 400),
        ({"input": [7]}, 400),
        ({"input": [{"role": "robot", "content": "hi"}]}, 400),
        ({"max_output_tokens": 0}, 400),
        ({"model": ""}, 400),
        ({"model": "no-such"}, 404),
        ({"tools": [7]}, 400),
    ],
)
def test_what_cannot_be_asked_is_refused(gateway: Gateway, fields: dict[str, Any], status: int) -> None:
    reply = gateway.ask("POST", "/v1/responses", {"model": LLM, "input": "hi", **fields})

    assert reply.status == status
    assert reply.error["message"]
    assert gateway.in_flight() == 0


def test_errors_and_broken_streams_are_openai_s(client: openai.OpenAI, playback: PlaybackServer) -> None:
    playback.put_faults(LLM, ErrorStatus(status=429, retry_after_s=3))
    with pytest.raises(openai.RateLimitError) as limited:
        client.responses.create(model=LLM, input="hi")
    playback.put_faults(LLM, BrokenStream(after_chunks=3))

    with pytest.raises(openai.APIError, match="ended before"):
        list(client.responses.create(model=LLM, input="hi", stream=True))

    assert limited.value.response.headers["retry-after"] == "3"
