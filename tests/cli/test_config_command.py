from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.running import invoke, output_of, refusal, run

from mixllm.cli.effective import effective_tree, sources, yaml_lines
from mixllm.config import parse_config

FULL = """\
model_list:
- model_name: "yes"
  litellm_params: &where
    model: openai/gpt-4o
    api_key: sk-written-out
- model_name: b c
  litellm_params:
    <<: *where
    model: m
    api_base: https://h.example/v1
    api_key: os.environ/BKEY
    input_cost_per_token: 1.0e-6
    output_cost_per_token: 0.000002
routing:
  lambda: 2
  policy: {name: thompson}
learning: {recipe: {tag_precision: 30.0}}
gateway:
  api_keys: [another-secret, os.environ/GATEWAY_KEY]
"""


@pytest.fixture
def full(tmp_path: Path) -> Path:
    path = tmp_path / "full.yaml"
    path.write_text(FULL)
    return path


def test_a_valid_file_is_said_to_be_valid(config_path: Path) -> None:
    done = run("config", "check", "-c", str(config_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"{config_path} is valid: 6 LLMs."
    assert "$10.00 / $30.00" in done.stdout


def test_each_value_comes_with_its_origin(full: Path) -> None:
    lines = invoke("config", "check", "-c", str(full), env={"MIXLLM_ROUTING__POLICY__NAME": "ucb"}).stdout.splitlines()
    assert f'  - model_name: "yes"  # {full}:2' in lines
    assert f"  lambda: 2.0  # {full}:15" in lines
    assert "    name: ucb  # $MIXLLM_ROUTING__POLICY__NAME" in lines
    assert "    exploration: 0.01  # default" in lines
    assert f"      input_cost_per_token: 1.0e-06  # {full}:12" in lines
    assert f"      model: m  # {full}:9" in lines


def test_as_json(full: Path) -> None:
    said = output_of("config", "check", "-c", str(full), env={"MIXLLM_GATEWAY__PORT": "81", "MIXLLM_TAGS": "{}"})
    assert said["valid"] is True
    assert said["path"] == str(full)
    assert said["config"]["routing"]["lambda"] == 2
    assert said["config"]["gateway"]["port"] == 81
    assert said["sources"]["gateway.port"] == "$MIXLLM_GATEWAY__PORT"
    assert said["sources"]["tags.temperature"] == "$MIXLLM_TAGS"
    assert said["sources"]["learning.recipe.tag_precision"] == f"{full}:17"
    assert said["sources"]["model_list.1.litellm_params.model"] == f"{full}:9"
    assert said["sources"]["store.path"] == "default"
    assert [llm["name"] for llm in said["llms"]] == ["yes", "b c"]
    assert said["llms"][0]["price"]["usd_per_million_tokens_in"] == 2.5


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_secret_is_shown(full: Path, options: list[str]) -> None:
    result = invoke("config", "check", "-c", str(full), *options)
    for secret in ("sk-written-out", "another-secret"):
        assert secret not in result.output
    for reference in ("os.environ/BKEY", "os.environ/GATEWAY_KEY", "https://h.example/v1"):
        assert reference in result.output


def test_what_is_shown_is_the_configuration_again() -> None:
    text = FULL.replace("sk-written-out", "os.environ/A").replace("another-secret, ", "")
    config = parse_config(text)
    tree = effective_tree(config)
    shown = "\n".join(yaml_lines(tree, sources(tree, text=text, name="f", environ={})))
    assert parse_config(shown) == config
    assert json.dumps(tree)


def test_values_from_a_merged_mapping_have_its_line() -> None:
    text = FULL.replace("    model: m\n", "")
    tree = effective_tree(parse_config(text))
    origins = sources(tree, text=text, name="f", environ={})
    assert origins["model_list", 1, "litellm_params", "model"] == "f:4"


def test_an_empty_file_is_all_defaults() -> None:
    tree = effective_tree(parse_config(""))
    assert set(sources(tree, text="", name="f", environ={}).values()) == {"default"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("routing:\n  lamda: 1", "line 2: unknown key 'lamda' in routing. Did you mean 'lambda'?"),
        ("routing:\n  lambda: cheap", "line 2: routing.lambda: Expected `float`, got `str`"),
        ("gateway: {port: 70000}", "port must be between 0 and 65535"),
        ("a: [", "line 1: is not valid YAML"),
        ("routing: {reference_llm: atlas}", "routing.reference_llm: no LLM named 'atlas' in the pool"),
        ("routing: {policy: {exploration: -1}}", "line 1: routing.policy: exploration must be"),
        ("routing: {wait_onset: 7}", "line 1: routing: wait_onset must be"),
        ("learning: {recipe: {tag_precission: 1}}", "Did you mean 'tag_precision'?"),
        ("model_list: [{model_name: x, litellm_params: {model: y}}]", "no api_base is given"),
        (
            "model_list: [{model_name: x, litellm_params: {model: y, api_base: http://h/v1}}]",
            "No price is known for LLM 'x'",
        ),
    ],
)
def test_a_bad_file_is_a_message(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert expected in refusal(invoke("config", "check", "-c", str(path)))


def test_a_variable_that_sets_nothing_is_a_message(config_path: Path) -> None:
    message = refusal(run("config", "check", "-c", str(config_path), env={"MIXLLM_ROUTING__LAMDA": "2"}))
    assert "Variable MIXLLM_ROUTING__LAMDA sets nothing. Did you mean 'MIXLLM_ROUTING__LAMBDA'?" in message


def test_missing_files_are_messages(tmp_path: Path) -> None:
    assert "mixllm.yaml: there is no such file" in refusal(run("config", "check", cwd=tmp_path))
    assert "cannot be read (Is a directory)" in refusal(invoke("config", "check", "-c", str(tmp_path)))
    by_variable = refusal(invoke("config", "check", env={"MIXLLM_CONFIG": "/nowhere/x.yaml"}))
    assert "/nowhere/x.yaml: there is no such file" in by_variable


def test_everything_that_starting_would_refuse_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "model_list:\n- {model_name: x, litellm_params: {model: nobody-knows, api_base: 'http://127.0.0.1:1/v1'}}\n"
        "routing: {reference_llm: y}\nlearning:\n  recipe: {tag_precisio: 1}\n"
    )
    message = refusal(invoke("config", "check", "-c", str(path)))

    assert f"{path}, line 3: routing.reference_llm: no LLM named 'y'" in message
    assert f"{path}, line 5: learning.recipe: unknown name 'tag_precisio'. Did you mean 'tag_precision'" in message
    assert f"{path}, line 2: No price is known for LLM 'x'" in message
