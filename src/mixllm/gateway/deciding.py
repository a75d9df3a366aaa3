"""Asking the router, without keeping other requests waiting."""

from __future__ import annotations

import asyncio

from mixllm.gateway.requests import ChatRequest
from mixllm.gateway.tracing import decision_span
from mixllm.router import RouterCore
from mixllm.types import Decision

__all__ = ["decide"]


async def decide(router: RouterCore, chat: ChatRequest, *, expect_outcome: bool = True) -> Decision:
    """Return the router's decision on `chat`; raises as `RouterCore.route` does.

    A decision takes less than handing it to a thread, unless the encoder waits for another server or computes for long.
    """
    with decision_span() as span:
        if router.encoder.blocking:
            decision = await asyncio.to_thread(router.route, chat.query, llm=chat.llm, expect_outcome=expect_outcome)
        else:
            decision = router.route(chat.query, llm=chat.llm, expect_outcome=expect_outcome)
        span.decided(decision)
    return decision
