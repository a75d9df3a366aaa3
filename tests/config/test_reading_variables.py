"""Variables over the file, and anything at all in both."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.config.full_file import FULL

from mixllm.config import Config, parse_config
from mixllm.config.reading import RESERVED_VARIABLES
from mixllm.errors import ConfigError


def test_variables_go_over_the_file() -> None:
    environ = {
        "MIXLLM_ROUTING__LAMBDA": "3",
        "MIXLLM_ROUTING__POLICY__NAME": "thompson",
        "MIXLLM_STORE__PATH": "x.db",
        "MIXLLM_GATEWAY__API_KEYS": "[sk-1, sk-2]",
        "MIXLLM_PRIVACY__STORE_PROMPTS": "true",
        "OTHER": "x",
    }
    config = parse_config("routing: {lambda: 1, deadline_s: 9}\nstore:\n", environ=environ)
    assert (config.routing.trade_off, config.routing.deadline_s) == (3.0, 9.0)
    assert config.routing.policy.name == "thompson"
    assert config.store.path == "x.db"
    assert [key.reveal() for key in config.gateway.api_keys] == ["sk-1", "sk-2"]
    assert config.privacy.store_prompts


def test_variables_of_the_command_line_are_no_settings() -> None:
    assert RESERVED_VARIABLES
    assert parse_config("", environ=dict.fromkeys(RESERVED_VARIABLES, "x")) == Config()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MIXLLM_ROUTING__LAMDA", "1", "MIXLLM_ROUTING__LAMDA sets nothing. Did you mean 'MIXLLM_ROUTING__LAMBDA'"),
        ("MIXLLM_ROTING__LAMBDA", "1", "MIXLLM_ROTING__LAMBDA sets nothing"),
        ("MIXLLM_", "1", "MIXLLM_ sets nothing"),
        ("MIXLLM_ROUTING__", "1", "sets nothing"),
        ("MIXLLM_ROUTING__LAMBDA__X", "1", "sets nothing"),
        ("MIXLLM_LEARNING__RECIPE__TAG_PRECISION", "1", "sets nothing"),
        ("MIXLLM_ROUTING__LAMBDA", "much", "^variable MIXLLM_ROUTING__LAMBDA: routing.lambda: Expected `float`"),
        ("MIXLLM_ROUTING__LAMBDA", "-1", "^variable MIXLLM_ROUTING__LAMBDA: routing: lambda must be"),
        ("MIXLLM_ROUTING__LAMBDA", "[1", "^variable MIXLLM_ROUTING__LAMBDA, line 1: is not valid YAML"),
        ("MIXLLM_ROUTING__LAMBDA", "\udc80", "has a character that YAML does not allow"),
        ("MIXLLM_STORE__PATH", "2024", "^variable MIXLLM_STORE__PATH: store.path: Expected `str`, got `int`"),
        ("MIXLLM_MODEL_LIST__MODEL_NAME", "x", "no section there"),
    ],
)
def test_mistakes_in_variables_name_the_variable(variable: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_config(FULL, environ={variable: value})


def test_a_secret_in_a_variable_never_shows() -> None:
    for value in ("*sk-very-secret", "!sk-very-secret x", "{sk-very-secret: 1}", "[{sk-very-secret: 2}]"):
        with pytest.raises(ConfigError) as caught:
            parse_config("", environ={"MIXLLM_GATEWAY__API_KEYS": value})
        assert "sk-very-secret" not in str(caught.value)
        assert "MIXLLM_GATEWAY__API_KEYS" in str(caught.value)


# --- anything at all --------------------------------------------------------------------------------------------------


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


def parsed(text: str, environ: dict[str, str]) -> str:
    """Return the message of the one error that is allowed, or nothing."""
    try:
        parse_config(text, environ=environ)
    except ConfigError as error:
        return str(error)
    return ""


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_wrong_types_everywhere_are_config_errors(data: st.DataObject) -> None:
    tree: Any = yaml.safe_load(FULL.replace("6e-7", "6.0e-7").replace("7.5e-8", "7.5e-08").replace("1e-6", "1.0e-6"))
    path = data.draw(st.sampled_from(places(tree)))
    odd = data.draw(ODD)
    if not path:
        tree = odd
    else:
        at = tree
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = odd
    try:
        text = yaml.safe_dump(tree, allow_unicode=True)
    except ValueError:
        return  # An integer that Python refuses to write.
    outcome = parsed(text, {})
    assert outcome or parse_config(text).specs() is not None


@given(st.dictionaries(st.text(max_size=20).map(lambda name: f"MIXLLM_{name}"), st.text(max_size=20), max_size=3))
def test_any_variables_are_read_or_refused(environ: dict[str, str]) -> None:
    outcome = parsed("", environ)
    assert not outcome or "ariable" in outcome
