"""Every part of the chat protocol, byte for byte, in both directions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from tests.clients.wire import Request, WireServer, http_answer, open_wire, say, sse_answer
from tests.gateway.running import Gateway, Reply, ask, messages

from mixllm.types import Capability, LLMSpec, Price

PRICE = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=2)
NAME = "wired"
PIXEL = "data:image/png;base64,iVBORw0KGgo="

REQUESTS: dict[str, bytes] = {
    "tools": b'"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"b":1,"a":2.0}}}],'
    b'"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":true',
    "schema": b'"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"z":1,"a":[1e2]}}}',
    "many": b'"n":3,"seed":7,"logit_bias":{"50256":-100},"stop":["\\n",  "END"]',
    "logprobs": b'"logprobs":true,"top_logprobs":5',
    "spoken": b'"modalities":["text","audio"],"audio":{"voice":"alloy","format":"wav"}',
    "thought": b'"reasoning_effort":"low","verbosity":"low","max_completion_tokens":10',
    "unknown": b'"x_unknown":{"b":[1.0,1e400,{"\\u00e9":null}]},"metadata":{"a":"b"},"store":false,"user":"u"',
    "prediction": b'"prediction":{"type":"content","content":"old text"},"service_tier":"flex"',
    "functions": b'"functions":[{"name":"f","parameters":{}}],"function_call":"auto"',
}
CHATS: dict[str, list[dict[str, Any]]] = {
    "image": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            ],
        }
    ],
    "audio": [
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "UklGRg", "format": "wav"}}]}
    ],
    "file": [{"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": "JVBERi0"}}]}],
    "tools": [
        {"role": "developer", "content": "Use tools.", "name": "boss"},
        {"role": "user", "content": "Weather in Oslo and Rome?"},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"city": "Oslo"}'}},
                {"id": "2", "type": "function", "function": {"name": "f", "arguments": '{"city": "Rome"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "sun"}]},
    ],
}
MESSAGE = b'{"role":"assistant","content":"hi","refusal":null,"annotations":[],"reasoning_content":"hm"}'
CHOICES: dict[str, bytes] = {
    "tool calls": b'{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function",'
    b'"function":{"name":"f","arguments":"{\\"a\\": 1.0}"}},{"id":"2","type":"function","function":{"name":"g",'
    b'"arguments":"{}"}}]},"finish_reason":"tool_calls"}',
    "refusal": b'{"index":0,"message":{"role":"assistant","content":null,"refusal":"No."},"finish_reason":"stop"}',
    "filtered": b'{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"content_filter",'
    b'"content_filter_results":{"hate":{"filtered":true}}}',
    "logprobs": b'{"index":0,"message":' + MESSAGE + b',"logprobs":{"content":[{"token":"hi","logprob":-0.10,'
    b'"bytes":[104,105],"top_logprobs":[{"token":"hi","logprob":-1e-3,"bytes":null}]}],"refusal":null},'
    b'"finish_reason":"length"}',
    "several": b'{"index":0,"message":' + MESSAGE + b',"finish_reason":"stop"},{"index":1,"message":' + MESSAGE + b"}",
    "audio": b'{"index":0,"message":{"role":"assistant","content":null,"audio":{"id":"a","data":"UklGRg==",'
    b'"expires_at":1,"transcript":"hi"}},"finish_reason":"stop"}',
}
USAGE = b'{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"completion_tokens_details":{"audio_tokens":0}}'

EVENTS: dict[str, tuple[bytes, ...]] = {
    "parallel tool calls": (
        (
            b'{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"1",'
            b'"type":"function","function":{"name":"f","arguments":""}}]}}]}'
        ),
        (
            b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"2","function":{"name":"g","arguments":"{"}},'
            b'{"index":0,"function":{"arguments":"{\\"a\\""}}]}}]}'
        ),
        b'{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}',
    ),
    "choices side by side": (
        b'{"choices":[{"index":1,"delta":{"content":"b"}}],"system_fingerprint":null}',
        b'{"choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-0.50}]}}]}',
        b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{},"finish_reason":"length"}]}',
    ),
    "refusal, audio and reasoning": (
        b'{"choices":[{"index":0,"delta":{"refusal":"I "}}]}',
        b'{"choices":[{"index":0,"delta":{"audio":{"id":"a","data":"UklGRg=="}}}]}',
        b'{"choices":[{"index":0,"delta":{"reasoning_content":"hm","reasoning_details":[{"text":"hm"}]}}]}',
    ),
    "what is not OpenAI's": (
        b'{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}',
        b'{"x_unknown":[1.0,1e400],"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}]}',
    ),
}


async def exchange(gateway: Gateway, answer: bytes, body: bytes) -> tuple[WireServer, Request, Reply]:
    """Send `body` for an LLM that answers with `answer`; returns what arrived there too."""
    async with open_wire(say(answer)) as wire:
        spec = LLMSpec(
            name=NAME, model="theirs", api_base=wire.base_url, price=PRICE, capabilities=frozenset(Capability)
        )
        with gateway.with_llm(spec):
            reply = await asyncio.to_thread(ask, gateway.url, "POST", "/v1/chat/completions", body)
        return wire, wire.requests[-1], reply


def plain(choices: bytes = b'{"index":0,"message":' + MESSAGE + b"}", usage: bytes = USAGE) -> bytes:
    return b'{"id":"1","object":"chat.completion","created":1,"model":"wired","choices":[%b],"usage":%b}' % (
        choices,
        usage,
    )


@pytest.mark.parametrize("case", REQUESTS)
async def test_a_request_s_fields_arrive_as_they_were_sent(gateway: Gateway, case: str) -> None:
    rest = b'"messages":[{"role":"user","content":"hi"}],%b' % REQUESTS[case]

    _, arrived, reply = await exchange(gateway, http_answer(plain()), b'{"model":"wired",%b}' % rest)

    assert reply.status == 200
    assert arrived.body == b'{"model":"theirs",%b}' % rest
    assert arrived.path == "/v1/chat/completions"


@pytest.mark.parametrize("case", CHATS)
async def test_a_chat_arrives_as_it_was_sent(gateway: Gateway, case: str) -> None:
    sent = json.dumps(CHATS[case], indent=1).encode()

    _, arrived, reply = await exchange(
        gateway, http_answer(plain()), b'{"messages":%b,"model":"wired","temperature":1.0}' % sent
    )

    assert reply.status == 200
    assert arrived.body == b'{"messages":%b,"model":"theirs","temperature":1.0}' % sent


@pytest.mark.parametrize("case", CHOICES)
async def test_an_answer_comes_back_as_it_was_given(gateway: Gateway, case: str) -> None:
    body = plain(CHOICES[case])

    _, _, reply = await exchange(gateway, http_answer(body), json.dumps(chat()).encode())

    assert reply.body == body
    (outcome,) = gateway.outcomes_of(reply.inference_id)
    assert (outcome["status"], outcome["tokens_in"], outcome["tokens_out"]) == ("ok", 5, 7)
    assert outcome["cost_usd"] == pytest.approx(19e-6)


@pytest.mark.parametrize("case", EVENTS)
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_events_come_back_as_they_were_given(gateway: Gateway, case: str, end: bytes) -> None:
    usage = b'{"choices":[],"usage":%b}' % USAGE
    sent = (*EVENTS[case], usage, b"[DONE]")
    stream = b": OPENROUTER PROCESSING\n\nretry: 3000\n\n" + b"".join(
        b"event: message\nid: 1\ndata: " + data + end + b": keep-alive\n\n" for data in sent
    )

    _, arrived, reply = await exchange(
        gateway,
        sse_answer(stream),
        json.dumps(chat(stream=True, stream_options={"include_usage": True})).encode(),
    )

    assert reply.body == b"".join(b"data: " + data + b"\n\n" for data in sent)
    assert msgspec.json.decode(arrived.body)["stream_options"] == {"include_usage": True}
    (outcome,) = gateway.outcomes_of(reply.inference_id)
    assert (outcome["status"], outcome["tokens_in"], outcome["tokens_out"]) == ("ok", 5, 7)


async def test_usage_that_counts_up_in_every_chunk_is_counted_once(gateway: Gateway) -> None:
    chunks = [
        {"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 5, "completion_tokens": tokens}}
        for tokens in (1, 2, 3)
    ]
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"

    _, _, reply = await exchange(gateway, sse_answer(stream), json.dumps(chat(stream=True)).encode())

    (outcome,) = gateway.outcomes_of(reply.inference_id)
    assert outcome["tokens_out"] == 3


def chat(**fields: object) -> dict[str, object]:
    return {"model": NAME, "messages": messages("hi"), **fields}


async def test_several_choices_are_recorded_as_such_and_expected_to_cost_more(gateway: Gateway) -> None:
    _, _, one = await exchange(gateway, http_answer(plain()), json.dumps(chat()).encode())
    _, _, three = await exchange(gateway, http_answer(plain()), json.dumps(chat(n=3)).encode())

    outcomes = [gateway.outcomes_of(reply.inference_id)[0] for reply in (one, three)]
    costs = [
        gateway.ask("GET", f"/v1/decisions/{reply.inference_id}").json["decision"]["candidates"][0]["forecast"][
            "cost_usd"
        ]["mean"]
        for reply in (one, three)
    ]
    assert [outcome["choices"] for outcome in outcomes] == [1, 3]
    assert costs[1] > 2 * costs[0]
