"""``POST /v1/chat/completions``: decide, call, answer, record."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response

from mixllm.errors import UnknownLLMError
from mixllm.gateway.access import key_id_of, key_of
from mixllm.gateway.answers import StoppingError, error_response
from mixllm.gateway.bodies import read_fields
from mixllm.gateway.calling import Calls
from mixllm.gateway.chat_answer import ChatAnswer
from mixllm.gateway.deciding import decide
from mixllm.gateway.departure import ClientLeftError, LeaveWatch
from mixllm.gateway.requests import ChatRequest, read_chat_request
from mixllm.gateway.state import state_of
from mixllm.router import RouterCore
from mixllm.types import Decision, LLMSpec, Outcome, OutcomeStatus

__all__ = ["chat_completions"]

_CLIENT_LEFT = 499
"""nginx's status for a client that went away; nobody reads it."""


async def chat_completions(request: Request) -> Response:
    """Answer a chat request with the LLM that the router decides on."""
    started_s = time.perf_counter()
    state = state_of(request)
    chat = read_chat_request(
        await read_fields(request), trade_off=state.router.maker.weights.trade_off, key=key_of(request)
    )
    decision, spec = await _decide(state.router, chat)
    state.metrics.observe_decision(decision)
    watched = None if state.watch is None else state.watch.begin(chat, decision, asker=_asker(request))
    calls = Calls(state=state, request=chat, decision=decision, spec=spec, started_s=started_s, watched=watched)
    try:
        with LeaveWatch(request.receive):
            return await ChatAnswer(chat=chat, calls=calls).respond()
    except ClientLeftError:
        return Response(status_code=_CLIENT_LEFT)
    except asyncio.CancelledError:
        # Only a server that stops cancels a request.
        return error_response(StoppingError())


def _asker(request: Request) -> str:
    """Return who asks: the name of the key, or without keys the address."""
    return key_id_of(request) or (request.client.host if request.client is not None else "")


async def _decide(router: RouterCore, chat: ChatRequest) -> tuple[Decision, LLMSpec]:
    while True:
        decision = await decide(router, chat)
        try:
            return decision, router.llm(decision.llm)
        except UnknownLLMError:
            # Removed in the moment between the two, by another thread: no call is made, and the rest of the pool asked.
            router.record(decision.decision_id, Outcome(status=OutcomeStatus.CANCELLED))
