"""The pool: which LLMs there are, what they cost, how busy each is, and what it refuses."""

from mixllm.registry.in_flight import InFlight
from mixllm.registry.prices import listed_price, priced
from mixllm.registry.shared_traffic import SharedTraffic, can_share
from mixllm.registry.traffic import OtherTraffic, Traffic

__all__ = ["InFlight", "OtherTraffic", "SharedTraffic", "Traffic", "can_share", "listed_price", "priced"]
