"""A request of the Responses API as the gateway understands it: what it asks, and what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mixllm.clients.litellm_library import has_litellm
from mixllm.encoders import is_tool_result, query_from_messages
from mixllm.gateway.bodies import InvalidBodyError, decode
from mixllm.gateway.keys import NOBODY, AccessKey
from mixllm.gateway.permissions import within
from mixllm.gateway.profiles import read_profile
from mixllm.gateway.requests import (
    OWN_FIELD,
    ChatRequest,
    check_count,
    optional_field,
    read_model,
    read_wishes,
    wishful,
)
from mixllm.gateway.responses.dialect import RESPONSES
from mixllm.types import Capability, Endpoint

__all__ = ["as_messages", "read_responses_request"]

_INPUT = msgspec.json.Decoder(str | list[dict[str, Any]], float_hook=float)
_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "background")
_RESULT = "_output"
_FORMATS = frozenset({"json_object", "json_schema"})


class _Format(msgspec.Struct, frozen=True):
    type: str | None = None


class _Text(msgspec.Struct, frozen=True):
    format: _Format | None = None


_WORDS = msgspec.json.Decoder(str | None)
_FLAG = msgspec.json.Decoder(bool | None)
_COUNT = msgspec.json.Decoder(int | None)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw] | None)
_SHAPE = msgspec.json.Decoder(_Text | None)


def read_responses_request(fields: dict[str, msgspec.Raw], *, trade_off: float, key: AccessKey = NOBODY) -> ChatRequest:
    """Understand a request of the Responses API.

    Parameters
    ----------
    fields
        Top-level fields of the body.
    trade_off
        The configured λ, which profiles shift.
    key
        Who asks: its settings and limits count too.

    Raises
    ------
    InvalidBodyError, InvalidValueError
        Where a field that the gateway needs is missing or wrong, or where the request goes on with something that one
        LLM's server keeps and yet leaves the choice open.
    ForbiddenLLMError
        Where it names an LLM that its key may not use.
    """
    model = read_model(fields)
    profile = read_profile(model, trade_off=trade_off)
    if profile is not None:
        _check_free(fields)
    wishes = read_wishes(fields)
    if bytes(fields.get("input", b""))[:1] == b"[":
        check_count(fields, "input")
    messages = as_messages(
        decode(fields["input"], _INPUT, field="input") if "input" in fields else "",
        instructions=optional_field(fields, "instructions", _WORDS),
    )
    stream: bool = optional_field(fields, "stream", _FLAG) or False
    limit: int | None = optional_field(fields, "max_output_tokens", _COUNT)
    if limit is not None and limit < 1:
        raise InvalidBodyError(f"max_output_tokens must be >= 1; got {limit}.", param="max_output_tokens")
    query = query_from_messages(messages, needs=_needs(fields), max_tokens_out=limit, streamed=stream)
    bridged = {Endpoint.CHAT} if has_litellm() else set()
    query = msgspec.structs.replace(query, endpoints=frozenset({Endpoint.RESPONSES} | bridged))
    query, llm = within(
        key, wishful(query, wishes, profile), llm=model if profile is None else None, trade_off=trade_off
    )
    return ChatRequest(
        fields={name: raw for name, raw in fields.items() if name != OWN_FIELD},
        query=query,
        llm=llm,
        stream=stream,
        wants_usage=True,
        ends_with_user=messages[-1].get("role") == "user",
        ends_with_tool=is_tool_result(messages[-1]),
        sticky=wishes.sticky,
        dialect=RESPONSES,
    )


def as_messages(given: str | list[dict[str, Any]], *, instructions: str | None = None) -> list[dict[str, Any]]:
    """Return the conversation as a chat, as far as its asks, its length and its needs are concerned.

    Examples
    --------
    >>> as_messages([{"role": "user", "content": "hi"}, {"type": "function_call_output", "output": "7"}])
    [{'role': 'user', 'content': 'hi'}, {'role': 'tool', 'content': '7'}]
    """
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    for item in given:
        if "role" in item:
            messages.append(item)
        elif str(item.get("type", "")).endswith(_RESULT):
            messages.append({"role": "tool", "content": item.get("output")})
        else:
            # Calls of tools, reasoning: paid for, and nobody's wish.
            messages.append({"role": "assistant", "content": None, "tool_calls": [item]})
    return messages


def _check_free(fields: Mapping[str, msgspec.Raw]) -> None:
    for name in _KEPT_ELSEWHERE:
        if bytes(fields.get(name, b"null")) not in {b"null", b"false"}:
            raise InvalidBodyError(
                f"{name} is about what one LLM's server keeps. Name that LLM, or send the whole conversation as input.",
                param=name,
            )


def _needs(fields: Mapping[str, msgspec.Raw]) -> frozenset[Capability]:
    needs = set()
    if optional_field(fields, "tools", _ITEMS):
        needs.add(Capability.TOOLS)
    text = optional_field(fields, "text", _SHAPE)
    if text is not None and text.format is not None and text.format.type in _FORMATS:
        needs.add(Capability.JSON)
    return frozenset(needs)
