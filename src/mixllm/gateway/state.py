"""What the handlers of one gateway share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from mixllm.config import GatewayConfig
from mixllm.gateway.llm_keys import LLMKeyRules
from mixllm.gateway.metrics import Metrics
from mixllm.interfaces import LLMClient
from mixllm.router import RouterCore

if TYPE_CHECKING:
    from mixllm.gateway.conversations import ConversationMemory
    from mixllm.gateway.watching import Watch

__all__ = ["GatewayState", "state_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayState:
    """Router, client, settings, metrics, rules for keys, and what observes the calls, of one gateway."""

    router: RouterCore
    client: LLMClient
    config: GatewayConfig
    metrics: Metrics
    llm_keys: LLMKeyRules
    watch: Watch | None = None
    conversations: ConversationMemory | None = None


def state_of(request: Request) -> GatewayState:
    """Return the state of the gateway that `request` came to."""
    state: GatewayState = request.app.state.gateway
    return state
