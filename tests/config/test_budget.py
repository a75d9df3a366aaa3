"""The section ``budget``: keys that are never shown, and what makes no sense."""

from __future__ import annotations

import pytest

from mixllm.config import BudgetConfig, KeyBudgetConfig, key_name, parse_config
from mixllm.errors import ConfigError
from mixllm.types import Secret


def test_a_key_is_named_by_its_variable_its_name_or_itself() -> None:
    name = key_name(Secret("sk-1234"))
    for written in ("os.environ/KEY", name, "sk-1234"):
        assert KeyBudgetConfig(key=Secret(written)).key_id({"KEY": "sk-1234"}) == name
    with pytest.raises(ConfigError, match="variable KEY is not set"):
        KeyBudgetConfig(key=Secret("os.environ/KEY")).key_id({"KEY": ""})


def test_no_limit_is_no_budget() -> None:
    assert not BudgetConfig(period="week", when_spent="cheapest").limits_anything
    for given in (BudgetConfig(usd=1.0), BudgetConfig(each_key_usd=1.0), BudgetConfig(max_request_usd=1.0)):
        assert given.limits_anything
    assert BudgetConfig(keys=(KeyBudgetConfig(key=Secret("k"), usd=1.0),)).limits_anything


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("budget: {usd: 0}", "budget: usd must be a finite number > 0"),
        ("budget: {period: year}", "period"),
        ("budget: {when_spent: explode}", "when_spent"),
        ("budget: {period_s: -1}", "period_s must be a finite number > 0"),
        ("budget: {keys: [{usd: 1}]}", "key"),
        ("budget: {keys: [{key: sk-secret-1, usd: -1}]}", "usd must be a finite number > 0"),
        ("budget: {keys: [{key: ' '}]}", "key must be"),
        ("budget: {each_keys_usd: 1}", "Did you mean 'each_key_usd'"),
        ("routing: {shadow: [{lambda: -1}]}", "lambda must be a finite number >= 0"),
        ("routing: {shadow: [{name: a}, {name: a}]}", "without two entries of the same name"),
    ],
)
def test_mistakes_are_named_and_keys_are_not_shown(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(text)
    assert words in str(refused.value)
    assert "sk-secret-1" not in str(refused.value)
