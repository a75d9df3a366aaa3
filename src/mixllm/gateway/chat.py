"""``POST /v1/chat/completions``: decide, call, answer, record; the other endpoints do so by `answer` too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixllm.errors import UnknownLLMError
from mixllm.gateway.access import key_id_of, key_of
from mixllm.gateway.answers import StoppingError, error_response
from mixllm.gateway.bodies import read_fields
from mixllm.gateway.calling import Calls
from mixllm.gateway.chat_answer import ChatAnswer
from mixllm.gateway.conversations import SESSION_HEADER, Conversation
from mixllm.gateway.deciding import decide
from mixllm.gateway.departure import ClientLeftError, LeaveWatch
from mixllm.gateway.dialect import CHAT, EMBEDDINGS
from mixllm.gateway.headers import header_of
from mixllm.gateway.requests import ChatRequest, read_chat_request
from mixllm.gateway.state import state_of
from mixllm.router import RouterCore
from mixllm.types import Decision, LLMSpec, Outcome, OutcomeStatus

__all__ = ["answer", "answer_chat", "chat_completions", "conversation_of"]

_CLIENT_LEFT = 499
"""nginx's status for a client that went away; nobody reads it."""


async def chat_completions(request: Request) -> Response:
    """Answer a chat request with the LLM that the router decides on."""
    started_s = time.perf_counter()
    return await answer_chat(request, await read_fields(request), started_s=started_s)


async def answer_chat(request: Request, fields: dict[str, msgspec.Raw], *, started_s: float) -> Response:
    """Answer the chat request that `fields` are; `started_s` is when it came, on `time.perf_counter`'s clock."""
    trade_off = state_of(request).router.maker.weights.trade_off
    return await answer(
        request, read_chat_request(fields, trade_off=trade_off, key=key_of(request)), started_s=started_s
    )


async def answer(
    request: Request,
    chat: ChatRequest,
    *,
    started_s: float,
    suited: Callable[[LLMSpec], ChatRequest] | None = None,
) -> Response:
    """Decide on `chat`, call the LLM, and return its answer.

    Parameters
    ----------
    request
        The request that it came in.
    chat
        What is decided on.
    started_s
        When it came, on the clock of `time.perf_counter`.
    suited
        Gives what is sent, in the form that suits the LLM; None: `chat` itself.
    """
    state = state_of(request)
    conversation = conversation_of(request, chat)
    decision, spec = await _decide(state.router, chat, conversation)
    state.metrics.observe_decision(decision)
    if suited is not None:
        try:
            chat = suited(spec)
        except BaseException:
            state.router.record(decision.decision_id, Outcome(status=OutcomeStatus.CANCELLED))
            raise
    watched = None
    if state.watch is not None and chat.dialect is CHAT:
        watched = state.watch.begin(chat, decision, asker=_asker(request))
    calls = Calls(
        state=state,
        request=chat,
        decision=decision,
        spec=spec,
        started_s=started_s,
        watched=watched,
        going_on=conversation is not None and conversation.agent_s_llm == decision.llm,
    )
    reply = ChatAnswer(chat=chat, calls=calls)
    try:
        with LeaveWatch(request.receive):
            response = await reply.respond()
            if conversation is not None and reply.llm is not None:
                conversation.answered(reply.llm)
            return response
    except ClientLeftError:
        return Response(status_code=_CLIENT_LEFT)
    except asyncio.CancelledError:
        # Only a server that stops cancels a request.
        return error_response(StoppingError())


def conversation_of(request: Request, chat: ChatRequest) -> Conversation | None:
    """Return the place of `chat` in its conversation; None where that does not matter."""
    memory = state_of(request).conversations
    if memory is None or chat.dialect is EMBEDDINGS:
        return None
    return memory.of(chat, session=header_of(request.scope, SESSION_HEADER), asker=_asker(request))


def _asker(request: Request) -> str:
    """Return who asks: the name of the key, or without keys the address."""
    return key_id_of(request) or (request.client.host if request.client is not None else "")


async def _decide(router: RouterCore, chat: ChatRequest, conversation: Conversation | None) -> tuple[Decision, LLMSpec]:
    while True:
        decision = await decide(router, chat, conversation=conversation)
        try:
            return decision, router.llm(decision.llm)
        except UnknownLLMError:
            # Removed in the moment between the two, by another thread: no call is made, and the rest of the pool asked.
            router.record(decision.decision_id, Outcome(status=OutcomeStatus.CANCELLED))
