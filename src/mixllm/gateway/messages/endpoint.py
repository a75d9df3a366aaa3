"""``POST /v1/messages`` and ``/v1/messages/count_tokens``: Anthropic's requests, answered by the pool."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixllm.encoders.content import json_text_chars
from mixllm.errors import MixLLMError
from mixllm.gateway.answers import error_response, json_response
from mixllm.gateway.bodies import BodyTooLargeError, InvalidBodyError, UnsupportedMediaError, decode, read_fields
from mixllm.gateway.chat import answer_chat
from mixllm.gateway.messages.errors import anthropic_error
from mixllm.gateway.messages.translation import MessagesTranslation
from mixllm.gateway.requests import check_count, read_chat_request
from mixllm.gateway.shown import error_for
from mixllm.gateway.translation import translated
from mixllm.units import tokens_from_chars

__all__ = ["count_tokens", "messages"]

_ERRORS = (MixLLMError, InvalidBodyError, BodyTooLargeError, UnsupportedMediaError)


async def messages(request: Request) -> Response:
    """Answer a request of Anthropic's Messages API with the LLM that the router decides on."""
    started_s = time.perf_counter()
    try:
        translation = await _read(request)
        response = await answer_chat(request, translation.fields(), started_s=started_s)
        return translated(response, translation)
    except _ERRORS as error:
        return _refusal(error_for(request, error))


async def count_tokens(request: Request) -> Response:
    """Return about how many tokens a request has; the LLM that would count them exactly is not known yet."""
    try:
        translation = await _read(request)
        query = read_chat_request(translation.fields(), trade_off=1.0, routing_only=True).query
    except _ERRORS as error:
        return _refusal(error)
    tools = tokens_from_chars(json_text_chars(translation.chat.get("tools", [])))
    return json_response({"input_tokens": query.prompt_tokens + tools})


async def _read(request: Request) -> MessagesTranslation:
    fields = await read_fields(request)
    check_count(fields, "messages")
    body = {name: decode(raw, Any, field=name) for name, raw in fields.items()}
    # In a thread, as the first one loads the library, which takes seconds.
    return await asyncio.to_thread(MessagesTranslation, body)


def _refusal(error: Exception) -> Response:
    said = error_response(error)
    kept = {name: value for name, value in said.headers.items() if name == "retry-after"}
    body = anthropic_error(said.status_code, msgspec.json.decode(said.body)["error"])
    return Response(body, said.status_code, kept, "application/json")
