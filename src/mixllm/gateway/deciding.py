"""Asking the router, without keeping other requests waiting."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec

from mixllm.errors import NoEligibleLLMError
from mixllm.gateway.conversations import Conversation
from mixllm.gateway.requests import ChatRequest
from mixllm.gateway.tracing import decision_span
from mixllm.router import RouterCore
from mixllm.types import Decision, Query

__all__ = ["decide"]


async def decide(
    router: RouterCore,
    chat: ChatRequest,
    *,
    expect_outcome: bool = True,
    conversation: Conversation | None = None,
) -> Decision:
    """Return the router's decision on `chat`, in its `conversation`; raises as `RouterCore.route` does.

    The LLM that an agent is at work with goes on, unless it cannot take the request.
    """
    with decision_span() as span:
        decision = await _decide(router, chat.query, chat.llm, conversation, expect_outcome=expect_outcome)
        span.decided(decision)
    return decision


async def _decide(
    router: RouterCore, query: Query, llm: str | None, conversation: Conversation | None, *, expect_outcome: bool
) -> Decision:
    if conversation is not None and conversation.turn is not None and llm is None:
        query = msgspec.structs.replace(query, warm=conversation.warm)
        going_on = conversation.agent_s_llm
        if going_on is not None and _may_go_on(router, query, going_on):
            alone = msgspec.structs.replace(query, allowed_llms=frozenset({going_on}))
            with suppress(NoEligibleLLMError):
                return await _route(router, alone, llm=None, expect_outcome=expect_outcome)
    return await _route(router, query, llm=llm, expect_outcome=expect_outcome)


def _may_go_on(router: RouterCore, query: Query, llm: str) -> bool:
    allowed = query.allowed_llms is None or llm in query.allowed_llms
    return allowed and llm not in router.breakers.refusing()


async def _route(router: RouterCore, query: Query, *, llm: str | None, expect_outcome: bool) -> Decision:
    # A decision takes less than handing it to a thread, unless the encoder waits for another server or computes long.
    if router.encoder.blocking:
        return await asyncio.to_thread(router.route, query, llm=llm, expect_outcome=expect_outcome)
    return router.route(query, llm=llm, expect_outcome=expect_outcome)
