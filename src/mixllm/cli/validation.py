"""Checks of a configuration beyond its shape: what starting a gateway would refuse of it."""

from __future__ import annotations

from mixllm.assembly import build_policy, build_recipe, build_weights
from mixllm.config import Config
from mixllm.errors import ConfigError, InvalidValueError, did_you_mean

__all__ = ["check_routing_values"]


def check_routing_values(config: Config) -> None:
    """Raise `ConfigError` where routing or the recipe has a value that cannot be used."""
    routing = config.routing
    names = [entry.model_name for entry in config.model_list]
    if routing.reference_llm is not None and routing.reference_llm not in names:
        raise ConfigError(
            f"routing.reference_llm: no LLM named {routing.reference_llm!r} in the pool."
            f"{did_you_mean(routing.reference_llm, names)}"
        )
    try:
        build_weights(routing)
    except InvalidValueError as error:
        raise ConfigError(f"routing: {error}") from error
    try:
        build_policy(routing.policy)
    except InvalidValueError as error:
        raise ConfigError(f"routing.policy: {error}") from error
    build_recipe(config.learning)
