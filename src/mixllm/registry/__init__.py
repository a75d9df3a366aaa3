"""The pool: what LLMs cost, how busy each is, what it refuses, which of them fail, and what each was last asked."""

from mixllm.registry.breaker import BreakerRules, BreakerState, BreakerStatus
from mixllm.registry.breakers import Breakers
from mixllm.registry.conversations import Conversations, Turn
from mixllm.registry.in_flight import CallUnderWay, InFlight
from mixllm.registry.prices import listed_price, priced
from mixllm.registry.shared_rates import SharedLevel, SharedRates
from mixllm.registry.shared_traffic import SharedTraffic, can_share
from mixllm.registry.traffic import OtherTraffic, Traffic

__all__ = [
    "BreakerRules",
    "BreakerState",
    "BreakerStatus",
    "Breakers",
    "CallUnderWay",
    "Conversations",
    "InFlight",
    "OtherTraffic",
    "SharedLevel",
    "SharedRates",
    "SharedTraffic",
    "Traffic",
    "Turn",
    "can_share",
    "listed_price",
    "priced",
]
