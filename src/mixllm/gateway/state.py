"""What the handlers of one gateway share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from mixllm.config import CallsConfig, GatewayConfig
from mixllm.gateway.call_metrics import CallMetrics
from mixllm.gateway.llm_keys import LLMKeyRules
from mixllm.gateway.metrics import Metrics
from mixllm.interfaces import LLMClient
from mixllm.router import RouterCore

if TYPE_CHECKING:
    from mixllm.gateway.calling.hedging import HedgeAllowance
    from mixllm.gateway.conversations import ConversationMemory
    from mixllm.gateway.reload import Reloader
    from mixllm.gateway.watching import Watch

__all__ = ["GatewayState", "state_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayState:
    """What the handlers of one gateway share: router, client, settings, metrics, rules, and what observes the calls."""

    router: RouterCore
    client: LLMClient
    config: GatewayConfig
    metrics: Metrics
    llm_keys: LLMKeyRules
    calls: CallsConfig
    call_metrics: CallMetrics
    hedges: HedgeAllowance
    watch: Watch | None = None
    conversations: ConversationMemory | None = None
    reloader: Reloader | None = None


def state_of(request: Request) -> GatewayState:
    """Return the state of the gateway that `request` came to."""
    state: GatewayState = request.app.state.gateway
    return state
