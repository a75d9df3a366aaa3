"""The pool: which LLMs there are, what they cost, how busy each is, what it refuses, and which of them fail."""

from mixllm.registry.breaker import BreakerRules, BreakerState, BreakerStatus
from mixllm.registry.breakers import Breakers
from mixllm.registry.in_flight import CallUnderWay, InFlight
from mixllm.registry.prices import listed_price, priced
from mixllm.registry.shared_traffic import SharedTraffic, can_share
from mixllm.registry.traffic import OtherTraffic, Traffic

__all__ = [
    "BreakerRules",
    "BreakerState",
    "BreakerStatus",
    "Breakers",
    "CallUnderWay",
    "InFlight",
    "OtherTraffic",
    "SharedTraffic",
    "Traffic",
    "can_share",
    "listed_price",
    "priced",
]
