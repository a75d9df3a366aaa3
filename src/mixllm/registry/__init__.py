"""The pool: which LLMs there are, what they cost, how many calls each has under way, and what it was last asked."""

from mixllm.registry.conversations import Conversations, Turn
from mixllm.registry.in_flight import InFlight
from mixllm.registry.prices import listed_price, priced

__all__ = ["Conversations", "InFlight", "Turn", "listed_price", "priced"]
