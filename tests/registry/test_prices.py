"""Prices: known, prefixed, unknown, and never zero by default."""

from __future__ import annotations

import sys

import pytest
from genai_prices import data

from mixllm.errors import MissingExtraError, UnknownPriceError
from mixllm.registry import listed_price, priced
from mixllm.types import LLMSpec, Price

FREE = Price(usd_per_million_tokens_in=0, usd_per_million_tokens_out=0)


def test_the_specs_own_price_goes_first() -> None:
    own = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=2)
    spec = LLMSpec(name="gpt-4o", price=own)
    assert priced(spec) is spec
    assert priced(LLMSpec(name="mine", price=FREE)).price == FREE


def test_a_listed_price_is_found() -> None:
    spec = priced(LLMSpec(name="strong", model="gpt-4o", context_window=7))
    assert spec.price is not None
    assert (spec.price.usd_per_million_tokens_in, spec.price.usd_per_million_tokens_out) == (2.5, 10.0)
    assert spec.price.usd_per_million_tokens_cached_in == 1.25
    assert (spec.name, spec.model, spec.context_window) == ("strong", "gpt-4o", 7)


def test_the_name_is_looked_up_where_there_is_no_model() -> None:
    assert priced(LLMSpec(name="gpt-4o-mini")).price == listed_price("gpt-4o-mini")


@pytest.mark.parametrize("model", ["openai/gpt-4o", "azure/gpt-4o", "no-such-provider/gpt-4o", "a/b/gpt-4o"])
def test_a_providers_prefix_is_understood(model: str) -> None:
    price = listed_price(model)
    assert price is not None
    assert price.usd_per_million_tokens_out == 10.0


def test_the_prefix_chooses_the_provider() -> None:
    """The same weights cost something where they are sold, whoever made them."""
    price = listed_price("openrouter/google/gemma-3-27b-it")
    assert price is not None
    assert price.usd_per_million_tokens_in > 0


@pytest.mark.parametrize("model", ["no-such-model", "", "/", "openai/", "a/", "x" * 10_000, "\ud800"])
def test_an_unknown_price_names_the_llm_and_is_never_zero(model: str) -> None:
    assert listed_price(model) is None
    with pytest.raises(UnknownPriceError, match=r"No price is known for LLM 'mine'.*0 is allowed") as caught:
        priced(LLMSpec(name="mine", model=model or "none such"))
    assert caught.value.name == "mine"


@pytest.mark.parametrize("model", ["google/gemma-3-27b-it", "github-copilot/gpt-4o", "openai/text-embedding-3-small"])
def test_a_list_entry_without_a_price_is_not_free(model: str) -> None:
    """The list has free tiers and entries whose price it does not know: both read as 0 there."""
    price = listed_price(model)
    assert price is None or price.usd_per_million_tokens_in > 0 < price.usd_per_million_tokens_out


def test_nothing_in_the_whole_list_is_free() -> None:
    prices = [
        listed_price(f"{provider.id}/{model.id}") for provider in data.providers for model in provider.models[:40]
    ]
    known = [price for price in prices if price is not None]
    assert len(known) > 200
    assert min(price.usd_per_million_tokens_in for price in known) > 0
    assert min(price.usd_per_million_tokens_out for price in known) > 0


def test_without_the_price_list_the_command_to_install_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mixllm\[prices\]'") as caught:
        priced(LLMSpec(name="gpt-4o"))
    assert isinstance(caught.value, ImportError)
    assert priced(LLMSpec(name="mine", price=FREE)).price == FREE
