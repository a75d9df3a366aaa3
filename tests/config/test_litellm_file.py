"""Configurations of LiteLLM's proxy work as they are."""

from __future__ import annotations

import logging

import pytest

from mixllm.config import parse_config
from mixllm.errors import ConfigError
from mixllm.types import Secret

PROXY = """\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      temperature: 0.2
      max_retries: 3
      stream_timeout: 30
      extra_headers: {x: y}
    model_info:
      id: first
      supports_prompt_caching: true
      input_cost_per_audio_token: 0.00004
      access_groups: [beta]
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_base: os.environ/SECOND_BASE
      api_key: os.environ/SECOND_KEY
      rpm: os.environ/SECOND_RPM
      weight: 2
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_base: "http://127.0.0.1:9/v1"}
    model_info: {id: on-premise}
litellm_settings: {drop_params: true, success_callback: [langfuse]}
router_settings: {routing_strategy: simple-shuffle, num_retries: 2}
general_settings: {master_key: sk-master, database_url: "postgresql://u:p@h/db"}
environment_variables: {SECOND_KEY: sk-second, LANGFUSE_HOST: "https://example.org"}
guardrails: [{guardrail_name: x}]
"""
ENVIRON = {"SECOND_BASE": "http://127.0.0.1:8/v1", "SECOND_RPM": "60"}


def test_a_proxy_s_file_works_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        config = parse_config(PROXY, name="proxy.yaml", environ=ENVIRON)
    first, second, third = config.specs()

    assert [spec.name for spec in (first, second, third)] == ["gpt-4o", "gpt-4o-2", "on-premise"]
    assert (first.api_base, first.api_key_env) == ("https://api.openai.com/v1", "OPENAI_API_KEY")
    assert first.first_token_timeout_s == 30
    assert (second.api_base, second.requests_per_minute) == ("http://127.0.0.1:8/v1", 60)
    assert config.secrets() == {"gpt-4o-2": Secret("sk-second")}
    assert config.gateway.api_keys == (Secret("sk-master"),)
    for words in (
        "line 2: LiteLLM's litellm_params.extra_headers, litellm_params.max_retries, litellm_params.temperature",
        "litellm_params.temperature, model_info.access_groups, model_info.input_cost_per_audio_token",
        "model_info.supports_prompt_caching has no effect here",
        "'gpt-4o' is LLM 'gpt-4o-2'",
        "section 'litellm_settings' concerns LiteLLM alone",
        "section 'guardrails' concerns LiteLLM alone",
    ):
        assert words in caplog.text
    assert "sk-" not in caplog.text
    assert "postgresql" not in caplog.text


def test_names_that_nobody_knows_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(
            "model_list:\n- model_name: a\n  litellm_params:\n    model: openai/x\n    api_bas: y\n    tempreature: 1\n"
            "  model_info:\n    max_imput_tokens: 5\nroutr_settings: {}\n"
        )
    first, second, third, fourth = str(refused.value).splitlines()
    assert "line 5: unknown key 'api_bas' in model_list.0.litellm_params. Did you mean 'api_base'?" in first
    assert "line 6: unknown key 'tempreature'" in second
    assert (
        "line 8: unknown key 'max_imput_tokens' in model_list.0.model_info. Did you mean 'max_input_tokens'?" in third
    )
    assert "line 9: unknown key 'routr_settings'" in fourth


def test_a_variable_that_is_missing_is_named_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"line 18: model_list\.1\.litellm_params\.api_base: variable SECOND_BASE"):
        parse_config(PROXY, environ={"SECOND_RPM": "1"})


def test_a_key_of_the_gateway_s_own_goes_before_the_master_key() -> None:
    text = "general_settings: {master_key: sk-1}\ngateway: {api_keys: [own]}"
    assert parse_config(text).gateway.api_keys == (Secret("own"),)


def test_a_number_does_not_take_a_name_that_is_there() -> None:
    text = "model_list:\n" + "".join(
        f"- {{model_name: {name}, litellm_params: {{model: openai/x}}}}\n" for name in ("a", "a", "a-2", "a")
    )
    assert [spec.name for spec in parse_config(text).specs()] == ["a", "a-3", "a-2", "a-4"]


def test_every_parameter_of_litellm_is_known() -> None:
    router = pytest.importorskip("litellm.types.router")
    from mixllm.config.litellm_names import PARAM_NAMES, PRICE_NAME
    from mixllm.config.pool import ModelParams

    ours = {*ModelParams.__struct_fields__, *PARAM_NAMES}
    unknown = [name for name in router.LiteLLM_Params.model_fields if name not in ours and not PRICE_NAME.match(name)]
    assert unknown == []


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            """routing:
  lambda: much
  wait_weight: -1
  policy:
    name: usb
    scale: 0
gateway:
  port: 70000
zzz: 1
judge: {model: x}
""",
            [
                "line 5: routing.policy.name: Invalid enum value 'usb'. Did you mean 'ucb'? Valid values: greedy, ucb,",
                "line 6: routing.policy: scale must be",
                "line 2: routing.lambda: Expected `float`, got `str`",
                "line 3: routing: wait_weight must be",
                "line 8: gateway: port must be",
                "line 9: unknown key 'zzz'",
                "line 10: judge: no api_base",
            ],
        ),
        (
            """model_list:
- {model_name: a}
- {model_name: b, litellm_params: {model: ' '}}
- 7
- {model_name: c, litellm_params: {model: openai/x}}
""",
            ["line 2", "line 3", "line 4"],
        ),
    ],
)
def test_every_fault_is_told_at_once(text: str, faults: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(text, name="f")
    lines = str(refused.value).splitlines()

    assert len(lines) == len(faults), lines
    for fault in faults:
        assert any(fault in line for line in lines), (fault, lines)
    assert all(line.startswith("f, line ") for line in lines)
