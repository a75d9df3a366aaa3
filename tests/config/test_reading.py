"""Reading configurations: lines, names, variables, secrets, and everything that people get wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.config.full_file import FULL

from mixllm.config import Config, decode_model_entry, load_config, parse_config
from mixllm.errors import ConfigError
from mixllm.types import Capability, Secret


def test_every_setting_reaches_the_configuration() -> None:
    config = parse_config(FULL)
    small, local = config.model_list
    assert small.litellm_params.rpm == 60
    assert small.litellm_params.tpm == 1000
    routing = config.routing
    assert (routing.trade_off, routing.reference_llm, routing.wait_weight) == (2.0, "small", 0.2)
    assert (routing.wait_steepness_per_s, routing.wait_onset, routing.deadline_s) == (0.4, 0.7, 20.0)
    policy = routing.policy
    assert (policy.name, policy.exploration, policy.gap_weight, policy.scale) == ("squarecb", 0.5, 50.0, 2.0)
    assert (policy.max_cost_ratio, policy.min_quality) == (4.0, 0.3)
    assert (policy.warmup_judgements, policy.warmup_share) == (20, 0.1)
    bold, plain = routing.shadow
    assert (bold.name, bold.trade_off, bold.policy.name) == ("bold", 9.0, "greedy")
    assert (plain.name, plain.trade_off, plain.policy.name) == ("shadow", None, "thompson")
    budget = config.budget
    assert (budget.usd, budget.each_key_usd, budget.max_request_usd) == (50.0, 5.0, 0.25)
    assert (budget.period, budget.period_s, budget.when_spent) == ("month", 3600.0, "cheapest")
    assert [(one.key.reveal(), one.usd, one.max_request_usd) for one in budget.keys] == [
        ("os.environ/TEAM", 20.0, 0.5),
        ("key-88dc28d0f030", None, None),
    ]
    assert (config.encoder.kind, config.encoder.path, config.encoder.max_chars) == ("folder", "/models/m", 4000)
    assert [(domain.name, domain.description) for domain in config.tags.domains] == [("maths", "sums")]
    assert (config.tags.temperature, config.tags.projection_dimension) == (0.1, 32)
    assert (config.learning.checkpoint_interval_s, config.learning.recipe) == (5.0, {"tag_precision": 3.0})
    assert (config.store.kind, config.store.path, config.store.max_commit_delay_s) == ("memory", "other.db", 0.5)
    assert (config.gateway.host, config.gateway.port, config.gateway.max_body_bytes) == ("0.0.0.0", 9000, 2048)
    assert config.gateway.connect_timeout_s == 2.0
    assert config.gateway.llm_key_variables == ("GUEST_KEY",)
    assert [key.reveal() for key in config.gateway.api_keys] == ["sk-client", "os.environ/CLIENT_KEY"]
    signals = config.signals
    assert (signals.implicit, signals.regenerate_window_s, signals.max_tracked) == (("error", "cut"), 30.0, 500)
    assert config.privacy.store_prompts
    assert local.model_name == "local"


def test_every_setting_of_the_judge_reaches_it() -> None:
    judge = parse_config(FULL).judge
    assert judge is not None
    assert (judge.share, judge.rubric, judge.drain_s) == (0.5, "1.0: good.", 1.0)
    assert (judge.max_question_chars, judge.max_answer_chars, judge.reasoning_tokens) == (100, 200, 50)
    assert (judge.max_in_flight, judge.max_queue) == (3, 7)
    spec = judge.spec()
    assert (spec.name, spec.model, spec.api_base) == ("judge", "gpt-4o-mini", "http://127.0.0.1:9000/v1")
    assert (spec.api_key_env, spec.timeout_s) == ("JUDGE_KEY", 9.0)
    assert spec.price is not None
    assert spec.price.usd_per_million_tokens_in == pytest.approx(1.0)
    assert spec.price.usd_per_million_tokens_out == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("signals: {implicit: [eror]}", "line 1: signals.implicit.0: Invalid enum value 'eror'"),
        ("signals: {implicit: [error, error]}", "without two signals of the same name"),
        ("signals: {implict: [error]}", "unknown key 'implict' in signals. Did you mean 'implicit'"),
        ("signals: {regenerate_window_s: 0}", "regenerate_window_s must be"),
        ("signals: {max_tracked: 0}", "max_tracked must be between 1 and"),
        ("judge: {share: 1}", "missing required field `model`"),
        ("judge: {model: x}", "line 1: judge: no api_base is given, and 'x' names no provider"),
        ("judge: {model: ' ', api_base: http://h/v1}", "line 1: judge: model must be a name"),
        ("judge: {model: x, api_base: ftp://h}", "judge: api_base must be a URL"),
        ("judge: {model: x, api_base: 'http://u:p@h/v1'}", "put the key into api_key_env; got '***'"),
        ("judge: {model: openai/x, api_key: sk-1}", "unknown key 'api_key' in judge. Did you mean 'api_key_env'"),
        ("judge: {model: openai/x, api_key_env: sk-1234}", "the name of an environment variable, not the key itself"),
        ("judge: {model: openai/x, share: 1.5}", "share must be between 0 and 1"),
        ("judge: {model: openai/x, timeout_s: .nan}", "timeout_s must be"),
        ("judge: {model: openai/x, drain_s: -1}", "drain_s must be"),
        ("judge: {model: openai/x, rubric: ' '}", "rubric must be"),
        ("judge: {model: openai/x, max_in_flight: 0}", "max_in_flight must be between 1 and 256"),
        ("judge: {model: openai/x, max_queue: 0}", "max_queue must be between"),
        ("judge: {model: openai/x, max_answer_chars: 1}", "max_answer_chars must be between"),
        ("judge: {model: openai/x, max_question_chars: 1}", "max_question_chars must be between"),
        ("judge: {model: openai/x, reasoning_tokens: -1}", "reasoning_tokens must be between"),
        ("judge: {model: openai/x, input_cost_per_token: 1}", "judge: input_cost_per_token and output_cost"),
        (
            "judge: {model: openai/x, input_cost_per_token: -1, output_cost_per_token: 1}",
            "input_cost_per_token must be",
        ),
    ],
)
def test_a_faulty_source_of_judgements_is_named(section: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(section)

    assert words in str(refused.value)
    assert "sk-1" not in str(refused.value).replace("api_key: sk-1", "")


def test_the_pool_in_litellms_shape_becomes_specs() -> None:
    small, local = parse_config(FULL).specs()
    assert (small.name, small.model, small.api_base) == ("small", "gpt-4o-mini", "https://api.openai.com/v1")
    assert (small.api_key_env, small.timeout_s, small.max_in_flight) == ("OPENAI_API_KEY", 45.0, 7)
    assert (small.context_window, small.stream_usage) == (128_000, False)
    assert small.capabilities == {Capability.JSON, Capability.VISION}
    assert small.price is not None
    assert small.price.usd_per_million_tokens_in == pytest.approx(0.15)
    assert small.price.usd_per_million_tokens_out == pytest.approx(0.6)
    assert small.price.usd_per_million_tokens_cached_in == pytest.approx(0.075)
    assert small.price.usd_per_million_tokens_reasoning == pytest.approx(1.0)
    assert (local.model, local.api_base, local.api_key_env) == ("qwen2.5", "http://127.0.0.1:8000/v1", None)
    assert local.price is not None
    assert local.price.blended_usd_per_million_tokens == 0.0
    assert local.capabilities == {Capability.TOOLS, Capability.JSON}


def test_literal_keys_are_kept_apart() -> None:
    assert parse_config(FULL).secrets() == {"local": Secret("sk-literal")}


def test_defaults_need_no_file() -> None:
    for text in ("", "# all commented out", "model_list:\nrouting:\ngateway:\n", "{}"):
        assert parse_config(text) == Config()


def entry(params: str, rest: str = "") -> str:
    return f"model_list:\n- model_name: a\n  litellm_params: {{{params}}}\n{rest}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "must be a mapping of sections"),
        ("just words", "must be a mapping of sections"),
        ("routing:\n  lamda: 2", "line 2: unknown key 'lamda' in routing. Did you mean 'lambda'"),
        ("rooting: {}", "line 1: unknown key 'rooting'. Did you mean 'routing'"),
        ("zzz: {}", "line 1: unknown key 'zzz'. Valid keys: budget, calls, encoder, gateway"),
        ("a: 1\nrouting: {}", "line 1: unknown key 'a'"),
        ("routing:\n  policy:\n    nam: ucb", "line 3: unknown key 'nam' in routing.policy. Did you mean 'name'"),
        ("routing:\n  policy: {name: usb}", "line 2: routing.policy.name: Invalid enum value 'usb'"),
        ("routing:\n  lambda: much", "line 2: routing.lambda: Expected `float`, got `str`"),
        ("routing:\n  lambda: true", "line 2: routing.lambda: Expected `float`, got `bool`"),
        ("routing:\n\n  lambda: -1", "line 3: routing: lambda must be a finite number >= 0; got -1"),
        ("routing:\n  lambda: .nan", "line 2: routing: lambda must be a finite number"),
        ("routing: []", "line 1: routing: Expected `object`, got `array`"),
        ("routing:\n  wait_onset: 7", "line 2: routing: wait_onset must be between 0 and 1"),
        ("routing:\n  deadline_s: .inf", "line 2: routing: deadline_s must be a finite number > 0"),
        ("routing:\n  wait_steepness_per_s: 0", "wait_steepness_per_s must be a finite number > 0"),
        ("routing:\n  wait_weight: -2", "wait_weight must be"),
        ("routing:\n  policy:\n    exploration: -1", "line 3: routing.policy: exploration must be"),
        ("routing:\n  policy: {gap_weight: 0}", "gap_weight must be"),
        ("routing:\n  policy: {scale: 0}", "scale must be"),
        ("routing:\n  policy: {max_cost_ratio: -1}", "max_cost_ratio must be"),
        ("routing:\n  policy: {min_quality: 2}", "min_quality must be between 0 and 1"),
        ("routing:\n  policy: {warmup_judgements: -1}", "warmup_judgements must be"),
        ("routing:\n  policy: {warmup_share: 1.5}", "warmup_share must be between 0 and 1"),
        ("encoder: {max_chars: 0}", "max_chars must be"),
        ("encoder: {kind: folder}", "path must be given where the kind is 'folder'"),
        ("encoder: {kind: word2vec}", "Invalid enum value 'word2vec'"),
        ("tags: {temperature: 0}", "temperature must be"),
        ("tags: {projection_dimension: 0}", "projection_dimension must be"),
        ("tags:\n  domains:\n  - {name: ' ', description: x}", "line 3: tags.domains.0: name must be more than blanks"),
        ("tags: {domains: [{name: x}]}", "missing required field `description`"),
        (
            "tags: {domains: [{name: x, description: y}, {name: x, description: z}]}",
            "without two domains of the same name",
        ),
        ("learning: {checkpoint_interval_s: 0}", "checkpoint_interval_s must be"),
        ("learning: {recipe: {tag_precision: x}}", "Expected `float`, got `str`"),
        ("learning: {feedback: {treatment: magic}}", "Invalid enum value 'magic'"),
        ("learning: {feedback: {max_key_share: 0}}", "max_key_share must be above 0, at most 1"),
        ("learning: {feedback: {max_key_share: 1.5}}", "max_key_share must be above 0, at most 1"),
        ("learning: {feedback: {key_judgements: -1}}", "key_judgements must be"),
        ("learning: {feedback: {key_window_s: 0}}", "key_window_s must be"),
        ("store: {max_commit_delay_s: -1}", "max_commit_delay_s must be 0 to 60"),
        ("store: {path: ''}", "path must be the path of a file"),
        ("store: {kind: oracle}", "Invalid enum value 'oracle'"),
        ("store: {kind: postgres}", "store: url must be given for kind postgres"),
        ("store: {url: 'mysql://me:secret@x'}", "url must be like postgresql"),
        ("store: {url: os.environ/X, schema: 'a;b'}", "schema must be 1 to 40 lower-case"),
        ("store: {spool: ''}", "spool must be the path of a folder"),
        ("store: {max_spool_bytes: 0}", "max_spool_bytes must be"),
        ("store: {connect_patience_s: -1}", "connect_patience_s must be"),
        ("gateway: {port: 70000}", "port must be between 0 and 65535"),
        ("gateway: {port: 0x" + "f" * 5_000 + "}", "port"),
        ("gateway: {host: ' '}", "host must be"),
        ("gateway: {max_body_bytes: 1}", "max_body_bytes must be >= 1024"),
        ("gateway: {connect_timeout_s: 0}", "connect_timeout_s must be"),
        ("gateway:\n  api_keys: [' ']", "api_keys must be without blank keys"),
        ("gateway:\n  api_keys: sk-1", "line 2: gateway.api_keys: Expected `array`, got `str`"),
        ("model_list: {}", "model_list: Expected `array`, got `object`"),
        ("model_list: [3]", "Expected `object`, got `int`"),
        ("model_list:\n- model_name: a", "line 2: model_list.0: Object missing required field `litellm_params`"),
        (entry("model: x"), "line 2: model_list entry 'a': no api_base is given"),
        (entry("model: huggingface/x"), "names no provider with a known endpoint"),
        (entry("model: ' '"), "line 3: .*model must be a name"),
        (entry("model: openai/x, api_base: 'ftp://x'"), "api_base must be a URL"),
        (entry("model: openai/x, timeout: 0"), "line 3: model_list.0.litellm_params: timeout must be"),
        (entry("model: openai/x, max_parallel_requests: 0"), "max_parallel_requests must be"),
        (entry("model: openai/x, rpm: -1"), "rpm must be"),
        (entry("model: openai/x, input_cost_per_token: 1"), "go together"),
        (entry("model: openai/x, input_cost_per_token: -1, output_cost_per_token: 1"), "input_cost_per_token must be"),
        (entry("model: openai/x, api_key: os.environ/"), "api_key names no variable"),
        (
            entry("model: openai/x, temprature: 1"),
            "unknown key 'temprature' in model_list.0.litellm_params",
        ),
        (entry("model: openai/x", "  model_info: {max_input_tokens: 0}"), "max_input_tokens must be"),
        (entry("model: openai/x", "  model_info: {cache_read_input_token_cost: -1}"), "cache_read_input_token_cost"),
        ("model_list: [{model_name: ' a', litellm_params: {model: openai/x}}]", "name must be 1 to 200 printable"),
        ("model_list: [{model_name: mixllm/auto, litellm_params: {model: openai/x}}]", "which is reserved"),
    ],
)
def test_mistakes_name_the_line_and_the_key(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_config(text, name="my.yaml")
    assert str(caught.value).startswith("my.yaml")


@pytest.mark.parametrize(
    ("api_key", "leaks"),
    [
        ("sk-very-secret", False),
        ("'sk-very-secret'", False),
        ("[sk-very-secret]", True),
        ("{sk-very-secret: 1}", True),
        ("*sk-very-secret", True),
        ("!sk-very-secret x", True),
        ("99887766554433", True),
    ],
)
def test_secrets_never_show(api_key: str, leaks: bool) -> None:
    text = entry(f"model: openai/x, api_key: {api_key}") + f"gateway: {{api_keys: [{api_key}]}}"
    secret = "99887766554433" if api_key[0] == "9" else "sk-very-secret"
    if leaks:
        with pytest.raises(ConfigError) as caught:
            parse_config(text)
        error: BaseException | None = caught.value
        while error is not None:
            assert secret not in str(error)
            error = error.__cause__
        return
    config = parse_config(text)
    assert secret not in repr(config)
    assert secret not in str(config.specs())
    assert secret not in repr(config.secrets())
    with pytest.raises(TypeError):
        msgspec.json.encode(config)
    assert config.secrets()["a"].reveal() == secret


def test_a_litellm_file_works_and_its_own_sections_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    text = (
        "model_list:\n- model_name: gpt\n  litellm_params: {model: openai/gpt-4o, api_key: os.environ/KEY}\n"
        "  model_info: {id: 1a, mode: chat, base_model: gpt-4o, max_tokens: 5, max_output_tokens: 5}\n"
        "litellm_settings: {drop_params: true}\ngeneral_settings: {master_key: sk-1}\nrouter_settings: {x: [1]}\n"
        "environment_variables: {A: b}\n"
    )
    with caplog.at_level(logging.WARNING):
        config = parse_config(text)
    assert [spec.name for spec in config.specs()] == ["gpt"]
    assert caplog.text.count("concerns LiteLLM alone") == 3
    assert "sk-1" not in caplog.text


@pytest.mark.parametrize(
    ("provider", "base"),
    [("groq", "https://api.groq.com/openai/v1"), ("openrouter", "https://openrouter.ai/api/v1")],
)
def test_known_providers_need_no_api_base(provider: str, base: str) -> None:
    (spec,) = parse_config(entry(f"model: {provider}/some/model")).specs()
    assert (spec.api_base, spec.model) == (base, "some/model")


def test_a_provider_is_cut_off_also_where_an_api_base_is_given() -> None:
    (spec,) = parse_config(entry("model: openai/qwen, api_base: http://h/v1")).specs()
    assert (spec.api_base, spec.model) == ("http://h/v1", "qwen")
    (spec,) = parse_config(entry("model: Qwen/Qwen2.5, api_base: http://h/v1")).specs()
    assert spec.model == "Qwen/Qwen2.5"


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mixllm.yaml"
    path.write_text(FULL, "utf-8")
    assert load_config(path) == load_config(str(path)) == parse_config(FULL)
    assert load_config(path, environ={"MIXLLM_ROUTING__LAMBDA": "9"}).routing.trade_off == 9.0
    path.write_text("﻿routing: {lambda: 4}  # with a byte order mark", "utf-8")
    assert load_config(path).routing.trade_off == 4.0


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read \(No such file"):
        load_config(missing)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="no possible path"):
        load_config("a\0b")


@pytest.mark.parametrize("data", [b"a: \xff", "routing: {lambda: 2}".encode("utf-16"), b"\xc3("])
def test_files_that_are_not_utf_8_are_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"latin\.yaml: is not UTF-8 text \(byte \d+\)\. Save it as UTF-8"):
        load_config(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(20 * 1024**3)  # Sparse: 20 GiB that nobody could read into memory.
    with pytest.raises(ConfigError, match=r"huge\.yaml: is larger than 4194304 bytes"):
        load_config(path)
    with pytest.raises(ConfigError, match="is larger than"):
        parse_config("#" * (4 * 1024 * 1024 + 1))


# --- single entries ---------------------------------------------------------------------------------------------------


def test_an_entry_of_the_pool_is_decoded_by_itself() -> None:
    decoded = decode_model_entry({"model_name": "a", "litellm_params": {"model": "openai/x"}})
    assert decoded.spec().model == "x"


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (None, "model entry: Expected `object`, got `null`"),
        ([], "Expected `object`, got `array`"),
        ({}, "missing required field `model_name`"),
        ({"model_nam": "a"}, "unknown key 'model_nam'. Did you mean 'model_name'"),
        ({"model_name": 3, "litellm_params": {"model": "x"}}, "model_name: Expected `str`, got `int`"),
        ({"model_name": "a", "litellm_params": {"model": "x", "api_key": 3}}, "api_key: Expected `str`, got `int`"),
        ({"model_name": "a", "litellm_params": {"model": "x", "timeout": -1}}, "timeout must be"),
    ],
)
def test_an_entry_that_is_none_is_refused(tree: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        decode_model_entry(tree)


def test_an_entry_that_is_nested_without_end_is_refused() -> None:
    tree: Any = []
    for _ in range(5_000):
        tree = [tree]
    for nested in (tree, {"model_name": tree}, {"model_name": "a", "litellm_params": tree}):
        with pytest.raises(ConfigError, match="model entry"):
            decode_model_entry(nested)


@pytest.mark.parametrize(
    ("info", "endpoints"),
    [
        ("", {"chat"}),
        ("mode: chat", {"chat"}),
        ("mode: embedding", {"embeddings"}),
        ("mode: responses", {"responses"}),
        ("mode: image_generation", set()),
        ("supported_endpoints: [/v1/chat/completions, /v1/responses, /v1/batch]", {"chat", "responses"}),
        ("mode: chat, supported_endpoints: [/v1/responses]", {"chat", "responses"}),
    ],
)
def test_what_an_llm_is_called_for_is_read_as_litellm_writes_it(info: str, endpoints: set[str]) -> None:
    text = f"model_list: [{{model_name: a, litellm_params: {{model: openai/x}}, model_info: {{{info}}}}}]"

    (spec,) = parse_config(text).specs()

    assert set(spec.endpoints) == endpoints


def test_vectors_need_no_price_of_answers() -> None:
    text = (
        "model_list: [{model_name: a, litellm_params: {model: openai/x}, "
        "model_info: {mode: embedding, input_cost_per_token: 2e-8}}]"
    )

    (spec,) = parse_config(text).specs()

    assert spec.price is not None
    assert spec.price.usd_per_million_tokens_in == pytest.approx(0.02)
    assert spec.price.usd_per_million_tokens_out == 0.0


@pytest.mark.parametrize(
    ("params", "provider", "model", "base"),
    [
        ("model: anthropic/claude-x", "anthropic", "claude-x", None),
        ("model: bedrock/eu.anthropic.claude-x", "bedrock", "eu.anthropic.claude-x", None),
        ("model: gemini/gemini-x, api_base: 'http://h/'", "gemini", "gemini-x", "http://h"),
        ("model: openrouter/anthropic/claude-x", None, "anthropic/claude-x", "https://openrouter.ai/api/v1"),
        ("model: meta/llama, api_base: 'http://h/v1'", None, "meta/llama", "http://h/v1"),
    ],
)
def test_providers_with_a_protocol_of_their_own_are_kept(
    params: str, provider: str | None, model: str, base: str | None
) -> None:
    (spec,) = parse_config(f"model_list: [{{model_name: a, litellm_params: {{{params}}}}}]").specs()

    assert (spec.provider, spec.model, spec.api_base) == (provider, model, base)
