"""Which keys LLMs that are changed at run time may use, and where they may be sent."""

from __future__ import annotations

import msgspec
import pytest

from mixllm.config import parse_config
from mixllm.errors import ConfigError
from mixllm.gateway.llm_keys import LLMKeyRules

CONFIG = """
model_list:
  - model_name: a
    litellm_params: {model: openai/a, api_base: "http://127.0.0.1:9/v1", api_key: sk-literal}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
"""


@pytest.mark.parametrize("change", [{"api_base": "http://127.0.0.1:10/v1"}, {"provider": "anthropic"}])
def test_a_literal_key_goes_nowhere_else(change: dict[str, str]) -> None:
    config = parse_config(CONFIG)
    rules, spec = LLMKeyRules.from_config(config), config.specs()[0]
    rules.check(spec)
    with pytest.raises(ConfigError, match="key stands in the configuration"):
        rules.check(msgspec.structs.replace(spec, **change))
    rules.check(msgspec.structs.replace(spec, name="b", **change))


def test_a_variable_has_to_be_named_in_the_configuration() -> None:
    config = parse_config(CONFIG)
    spec = msgspec.structs.replace(config.specs()[0], name="b", api_key_env="HOME")
    with pytest.raises(ConfigError, match="llm_key_variables"):
        LLMKeyRules.from_config(config).check(spec)
