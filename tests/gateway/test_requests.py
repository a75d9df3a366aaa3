"""What passes through unchanged."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.running import Gateway, messages

from mixllm.gateway.bodies import InvalidBodyError
from mixllm.gateway.requests import ChatRequest, read_chat_request
from mixllm.playback import PlaybackServer
from mixllm.types import Capability, LLMSpec

_ODD = (
    rb'{"model":"atlas-large",'
    rb'"messages":[{"role":"system","content":"caf\u00e9"},'
    rb'{"role":"user","content":"\ud83d\ude00 \u0041 \/","weight":1e400,"big":123456789012345678901234567890}],'
    rb'"temperature":1.0,"top_p":1,"seed":123456789012345678901234567890,"beyond":1e400,"minus":-0.0,"exact":0.10000,'
    rb'"text":"\u0041\/\ud83d\ude00","empty":{},"nothing":null,'
    rb'"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":'
    rb'{"a":{"enum":[1.0,1e2,null]},"b":{"items":[[[{"x":[]}]]]}}}}}],'
    rb'"metadata":{"a":{"b":[1.0, null,  "\u00fc"]}}}'
)

_UNDERSTOOD = frozenset(
    {
        "model",
        "messages",
        "mixllm",
        "stream",
        "stream_options",
        "tools",
        "functions",
        "response_format",
        "modalities",
        "max_tokens",
        "max_completion_tokens",
    }
)

_scalars: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
_names = st.text(max_size=20).filter(lambda name: name not in _UNDERSTOOD)


def fields_of(body: bytes) -> dict[str, bytes]:
    return {name: bytes(raw) for name, raw in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).items()}


def read(body: dict[str, Any], *, routing_only: bool = False) -> ChatRequest:
    fields = msgspec.json.decode(json.dumps(body), type=dict[str, msgspec.Raw])
    return read_chat_request(fields, trade_off=1.4, routing_only=routing_only)


def test_what_the_gateway_does_not_know_arrives_byte_for_byte(gateway: Gateway, playback: PlaybackServer) -> None:
    reply = gateway.ask("POST", "/v1/chat/completions", _ODD)

    assert reply.status == 200
    arrived = playback.requests(1)[0].body
    assert list(fields_of(arrived)) == list(fields_of(_ODD))
    assert fields_of(arrived) == fields_of(_ODD)


def test_a_stream_differs_in_its_options_alone(gateway: Gateway, playback: PlaybackServer) -> None:
    sent = _ODD[:-1] + b',"stream":true}'

    reply = gateway.ask("POST", "/v1/chat/completions", sent)

    assert reply.status == 200
    arrived = fields_of(playback.requests(1)[0].body)
    assert arrived.pop("stream_options") == b'{"include_usage":true}'
    assert arrived == fields_of(sent)


def test_a_request_for_routing_differs_in_its_model_alone(gateway: Gateway, playback: PlaybackServer) -> None:
    sent = _ODD.replace(b'"atlas-large"', b'"mixllm/auto:quality"')[:-1] + b',"mixllm":{"lambda":2}}'

    reply = gateway.ask("POST", "/v1/chat/completions", sent)

    arrived, expected = fields_of(playback.requests(1)[0].body), fields_of(sent)
    del expected["mixllm"]
    assert arrived.pop("model") == msgspec.json.encode(reply.headers["x-mixllm-model"])
    del expected["model"]
    assert arrived == expected


def test_the_caller_s_key_does_not_go_to_the_llm(gateway: Gateway, playback: PlaybackServer) -> None:
    gateway.ask(
        "POST",
        "/v1/chat/completions",
        {"model": "atlas-large", "messages": messages("x")},
        {"authorization": "Bearer k"},
    )

    names = {name for name, _ in playback.requests(1)[0].headers}
    assert "authorization" not in names
    assert "content-type" in names


@settings(deadline=None, derandomize=True)
@given(st.dictionaries(_names, _values, max_size=5))
def test_any_further_fields_pass_through(further: dict[str, Any]) -> None:
    body = {"model": "mixllm/auto", "messages": messages("x"), **further}
    sent = {name: json.dumps(value).encode() for name, value in body.items()}

    passed = fields_of(read(body).body_for(LLMSpec(name="a")))

    assert passed.pop("model") == b'"a"'
    del sent["model"]
    assert passed == sent


@settings(deadline=None, derandomize=True)
@given(_values)
def test_nothing_in_place_of_a_field_crashes(value: Any) -> None:
    for name in sorted(_UNDERSTOOD):
        try:
            read({"model": "mixllm/auto", "messages": messages("x"), name: value})
        except (InvalidBodyError, ValueError) as error:
            assert str(error)  # noqa: PT017 -- both outcomes are right: what matters is that there is no third


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, set()),
        ({"tools": [], "response_format": {"type": "text"}, "modalities": ["text"]}, set()),
        ({"tools": [{}]}, {Capability.TOOLS}),
        ({"functions": [{}]}, {Capability.TOOLS}),
        ({"response_format": {"type": "json_object"}}, {Capability.JSON}),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {Capability.JSON}),
        ({"modalities": ["text", "audio"]}, {Capability.AUDIO}),
    ],
)
def test_needs_are_read_from_the_request(fields: dict[str, Any], needs: set[Capability]) -> None:
    assert read({"model": "mixllm/auto", "messages": messages("x"), **fields}).query.needs == needs


def test_an_image_needs_vision() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    body = {"model": "mixllm/auto", "messages": [{"role": "user", "content": [image]}]}

    assert read(body).query.needs == {Capability.VISION}


def test_the_newer_limit_goes_before_the_older() -> None:
    body = {"model": "mixllm/auto", "messages": messages("x"), "max_tokens": 5, "max_completion_tokens": 7}

    assert read(body).query.max_tokens_out == 7
    assert read({**body, "max_completion_tokens": None}).query.max_tokens_out == 5


def test_a_request_s_own_lambda_goes_before_its_profile_s() -> None:
    body = {"model": "mixllm/auto:cost", "messages": messages("x")}

    assert read(body).query.trade_off == pytest.approx(1.4 / 3)
    assert read({**body, "mixllm": {"lambda": 5}}).query.trade_off == 5


def test_only_routing_may_leave_the_model_out() -> None:
    body = {"messages": messages("x")}

    assert read(body, routing_only=True).llm is None
    with pytest.raises(InvalidBodyError, match="model is missing"):
        read(body)
    with pytest.raises(InvalidBodyError, match="model is missing or empty"):
        read({**body, "model": ""}, routing_only=True)
