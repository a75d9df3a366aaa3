"""``POST /v1/route`` decides and explains; ``GET /v1/decisions/{id}`` tells what became of a decision."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from mixllm.errors import UnknownDecisionError
from mixllm.gateway.access import key_of
from mixllm.gateway.answers import json_response
from mixllm.gateway.bodies import read_fields
from mixllm.gateway.chat import conversation_of
from mixllm.gateway.deciding import decide
from mixllm.gateway.elsewhere import once_known
from mixllm.gateway.requests import read_chat_request
from mixllm.gateway.shown import decision_for, stored_for
from mixllm.gateway.state import state_of

__all__ = ["get_decision", "post_route"]


async def post_route(request: Request) -> Response:
    """Decide which LLM would take a chat request, explain it, and call nothing."""
    router, key = state_of(request).router, key_of(request)
    chat = read_chat_request(
        await read_fields(request),
        trade_off=router.maker.weights.trade_off,
        key=key,
        routing_only=True,
    )
    conversation = conversation_of(request, chat)
    decision = await decide(router, chat, expect_outcome=False, conversation=conversation)
    return json_response(decision_for(key, decision))


async def get_decision(request: Request) -> Response:
    """Return a decision with its outcomes and feedback; a key without the scope ``admin`` sees its own alone.

    Of LLMs that it may not use it sees nothing (see `mixllm.gateway.shown`).
    """
    state, key = state_of(request), key_of(request)
    decision_id = request.path_params["decision_id"]
    stored = await once_known(state, decision_id, lambda: asyncio.to_thread(state.router.decision, decision_id))
    if stored.decision.key_id != key.key_id and not key.may(("admin",)):
        raise UnknownDecisionError(decision_id)  # As if there were none: not even that is another's business.
    return json_response(stored_for(key, stored))
