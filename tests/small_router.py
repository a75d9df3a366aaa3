"""A router that is made in milliseconds: hashed words, three domains, three LLMs."""

from __future__ import annotations

from typing import Any

from mixllm import LLMSpec, Price, Router
from mixllm.config import DomainConfig, EncoderConfig, LearningConfig, PolicyConfig, RoutingConfig, TagsConfig

ENCODER = EncoderConfig(kind="hashing")
TAGS = TagsConfig(
    domains=(
        DomainConfig(name="maths", description="sum product equation number solve"),
        DomainConfig(name="law", description="court contract judge plaintiff statute"),
        DomainConfig(name="code", description="python function bug program loop"),
    ),
    projection_dimension=8,
)
EXPLORING = RoutingConfig(policy=PolicyConfig(name="squarecb", gap_weight=5.0))
"""Every LLM is chosen now and then."""

WORDS = ("solve", "the", "equation", "court", "contract", "python", "loop", "sum", "judge", "bug", "number", "of")


def spec(name: str, usd: float, **more: Any) -> LLMSpec:
    """Return an LLM that costs `usd` per million tokens."""
    return LLMSpec(name=name, price=Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd), **more)


SPECS = (spec("small", 0.1), spec("middle", 1.0), spec("large", 10.0))


def small_router(**change: Any) -> Router:
    """Return a router over `SPECS`; `change` are parameters of `Router`."""
    given: dict[str, Any] = {
        "llms": SPECS,
        "encoder": ENCODER,
        "tags": TAGS,
        "routing": EXPLORING,
        "learning": LearningConfig(),
        "seed": 7,
        **change,
    }
    return Router(**given)


def question(number: int) -> str:
    """Return one of many different questions."""
    return " ".join(WORDS[(number * step + step) % len(WORDS)] for step in range(1, 7)) + f" {number % 17}"
