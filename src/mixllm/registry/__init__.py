"""The pool: which LLMs there are, what they cost, how many calls each has under way, and which of them fail."""

from mixllm.registry.breaker import BreakerRules, BreakerState, BreakerStatus
from mixllm.registry.breakers import Breakers
from mixllm.registry.in_flight import CallUnderWay, InFlight
from mixllm.registry.prices import listed_price, priced

__all__ = [
    "BreakerRules",
    "BreakerState",
    "BreakerStatus",
    "Breakers",
    "CallUnderWay",
    "InFlight",
    "listed_price",
    "priced",
]
