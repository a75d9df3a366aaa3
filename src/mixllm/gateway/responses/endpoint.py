"""``POST /v1/responses``: routed on the last human ask of its input."""

from __future__ import annotations

import asyncio
import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixllm.clients.litellm_library import has_litellm, load_litellm
from mixllm.errors import MissingExtraError
from mixllm.gateway.access import key_of
from mixllm.gateway.bodies import read_fields
from mixllm.gateway.chat import answer
from mixllm.gateway.requests import ChatRequest
from mixllm.gateway.responses.bridge import FEATURE, ResponsesBridge
from mixllm.gateway.responses.requests import read_responses_request
from mixllm.gateway.state import state_of
from mixllm.gateway.translation import translated
from mixllm.types import Endpoint, LLMSpec

__all__ = ["responses"]


async def responses(request: Request) -> Response:
    """Answer a request of the Responses API with the LLM that the router decides on."""
    started_s = time.perf_counter()
    router = state_of(request).router
    asked = read_responses_request(
        await read_fields(request), trade_off=router.maker.weights.trade_off, key=key_of(request)
    )
    allowed = asked.query.allowed_llms
    named = [
        spec for spec in router.llms if asked.llm in {None, spec.name} and (allowed is None or spec.name in allowed)
    ]
    if any(Endpoint.RESPONSES not in spec.endpoints for spec in named):
        if has_litellm():
            await asyncio.to_thread(load_litellm, FEATURE)
        elif not any(Endpoint.RESPONSES in spec.endpoints for spec in named):
            raise MissingExtraError(FEATURE, "providers")
    bridge: ResponsesBridge | None = None

    def suited(spec: LLMSpec) -> ChatRequest:
        nonlocal bridge
        if Endpoint.RESPONSES in spec.endpoints:
            only = msgspec.structs.replace(asked.query, endpoints=frozenset({Endpoint.RESPONSES}))
            return msgspec.structs.replace(asked, query=only)
        bridge = ResponsesBridge(asked)
        return bridge.chat()

    response = await answer(request, asked, started_s=started_s, suited=suited)
    return response if bridge is None else translated(response, bridge)
