"""The pool: which LLMs there are, what they cost, and how many calls each has under way."""

from mixllm.registry.in_flight import InFlight
from mixllm.registry.prices import listed_price, priced

__all__ = ["InFlight", "listed_price", "priced"]
