from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mixllm.gateway.bodies import InvalidBodyError
from mixllm.gateway.keys import AccessKey
from mixllm.gateway.responses.requests import read_responses_request
from mixllm.types import Capability, Endpoint, Query


def query(**fields: Any) -> Query:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    model = msgspec.Raw(b'"mixllm/auto"')
    return read_responses_request({"model": model, **raw}, trade_off=1.4, key=AccessKey(key_id="key", name="Ann")).query


def test_it_is_routed_on_the_last_human_ask() -> None:
    asked = query(
        instructions="You are a coding agent.",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Fix the test."}]},
            {"type": "reasoning", "id": "r", "summary": []},
            {"type": "function_call", "call_id": "1", "name": "run", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "1 failed"},
        ],
    )

    assert asked.text == "Fix the test."
    assert asked.prompt_chars is not None
    assert asked.prompt_chars > len("You are a coding agent." + "Fix the test." + "1 failed")
    assert asked.key_id == "key"
    assert Endpoint.RESPONSES in asked.endpoints


@pytest.mark.parametrize(
    ("fields", "need"),
    [
        ({"tools": [{"type": "function", "name": "f"}]}, Capability.TOOLS),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}, Capability.JSON),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, Capability.VISION),
    ],
)
def test_what_it_needs_is_known(fields: dict[str, Any], need: Capability) -> None:
    assert query(**{"input": "hi", **fields}).needs == {need}


def test_its_wishes_and_limits_are_kept() -> None:
    asked = query(input="hi", max_output_tokens=7, stream=True, mixllm={"lambda": 2, "allowed_llms": ["a"]})

    assert (asked.max_tokens_out, asked.streamed, asked.trade_off) == (7, True, 2.0)
    assert asked.allowed_llms == frozenset({"a"})


def test_more_items_than_any_conversation_has_are_refused_before_they_are_read() -> None:
    with pytest.raises(InvalidBodyError, match="input holds more than 10000"):
        query(input=[{"role": "user", "content": "x"}] * 10_001)
