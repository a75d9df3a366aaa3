"""Which keys an LLM that is added at run time may use: whoever may add LLMs must not thereby read the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from mixllm.config import Config
from mixllm.errors import ConfigError
from mixllm.types import LLMSpec

__all__ = ["LLMKeyRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMKeyRules:
    """Rules for the keys of LLMs that are added at run time.

    Parameters
    ----------
    variables
        Environment variables that they may name.
    literal_places
        For each LLM whose key is written in the configuration, the only provider and endpoint that may get it.
    """

    variables: frozenset[str] = frozenset()
    literal_places: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Allow the variables that the configuration names: in its pool, and in ``gateway.llm_key_variables``."""
        specs = config.specs()
        literal = config.secrets()
        return cls(
            variables=frozenset(config.gateway.llm_key_variables)
            | {spec.api_key_env for spec in specs if spec.api_key_env is not None},
            literal_places={spec.name: (spec.provider, spec.api_base) for spec in specs if spec.name in literal},
        )

    def check(self, spec: LLMSpec) -> None:
        """Raise `ConfigError` where `spec` would send a key where it does not belong."""
        if spec.api_key_env is not None and spec.api_key_env not in self.variables:
            raise ConfigError(
                f"LLM {spec.name!r}: the configuration does not let LLMs that are added at run time use variable "
                f"{spec.api_key_env}. Add it to gateway.llm_key_variables, and restart."
            )
        place = (spec.provider, spec.api_base)
        if self.literal_places.get(spec.name, place) != place:
            raise ConfigError(
                f"LLM {spec.name!r}: its key stands in the configuration, for another api_base or provider. "
                "Choose another name, or change the configuration."
            )
