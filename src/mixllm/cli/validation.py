"""Checks of a configuration beyond its shape: what starting a gateway would refuse of it."""

from __future__ import annotations

from mixllm.assembly import build_recipe
from mixllm.config import Config
from mixllm.errors import ConfigError, did_you_mean

__all__ = ["check_recipe", "check_reference", "check_routing_values"]


def check_routing_values(config: Config) -> None:
    """Raise `ConfigError` where the reference LLM is not in the pool, or the recipe cannot be used."""
    check_reference(config)
    check_recipe(config)


def check_recipe(config: Config) -> None:
    """Raise `ConfigError` where the recipe cannot be used."""
    build_recipe(config.learning)


def check_reference(config: Config) -> None:
    """Raise `ConfigError` where the reference LLM is not in the pool."""
    reference, names = config.routing.reference_llm, [entry.model_name for entry in config.model_list]
    if reference is not None and reference not in names:
        raise ConfigError(
            f"routing.reference_llm: no LLM named {reference!r} in the pool.{did_you_mean(reference, names)}"
        )
