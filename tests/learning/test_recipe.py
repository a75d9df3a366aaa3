"""Recipes: every parameter reaches the predictors that it is for."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from mixllm.errors import InvalidValueError
from mixllm.learning import Recipe
from mixllm.types import Price

FIELDS = [field.name for field in dataclasses.fields(Recipe)]
ODD: dict[str, float] = {
    **{name: 1.25 + place for place, name in enumerate(FIELDS)},
    "quality_at_one_usd": 0.55,
    "quality_per_price_decade": 0.05,
    "quality_per_public_score": 0.35,
}


def test_every_parameter_reaches_its_attribute_and_is_off_its_default() -> None:
    recipe = Recipe(**ODD)
    assert {name: getattr(recipe, name) for name in FIELDS} == ODD
    assert all(getattr(recipe, name) != getattr(Recipe(), name) for name in FIELDS)


def test_every_parameter_reaches_the_predictors() -> None:
    recipe = Recipe(**ODD)
    model = recipe.new_model(level=0.61, tags=2, embedding=3)
    for part, names, mean in (
        (model.quality, ("tag_precision", "embedding_precision", "level_precision"), 0.61),
        (
            model.length,
            ("length_tag_precision", "length_embedding_precision", "length_level_precision"),
            math.log1p(ODD["prior_tokens_out"]),
        ),
        (model.billing, ("billing_tag_precision", "billing_embedding_precision", "billing_level_precision"), 0.0),
    ):
        prior = part.prior
        assert (prior.tag_precision, prior.embedding_precision, prior.bias_precision) == tuple(ODD[n] for n in names)
        assert prior.bias_mean == mean
        assert prior.tags == 2
    assert (model.quality.prior.embedding, model.length.prior.embedding, model.billing.prior.embedding) == (3, 4, 4)
    assert model.quality.noise_variance == ODD["quality_noise_variance"]
    assert model.length.noise_variance == ODD["length_noise_variance"]
    assert model.billing.noise_variance == ODD["billing_noise_variance"]
    latency = model.latency
    assert (latency.window_calls, latency.prior_ttft_s, latency.prior_tpot_s) == (
        ODD["latency_window_calls"],
        ODD["prior_ttft_s"],
        ODD["prior_tpot_s"],
    )


def test_every_parameter_reaches_the_slopes_of_the_pool() -> None:
    recipe = Recipe(**ODD)
    for slopes, embedding, names in (
        (recipe.pool_slopes(tags=2, embedding=3), 3, ("pool_tag_precision", "pool_embedding_precision")),
        (
            recipe.length_pool_slopes(tags=2, embedding=3),
            4,
            ("length_pool_tag_precision", "length_pool_embedding_precision"),
        ),
        (
            recipe.billing_pool_slopes(tags=2, embedding=3),
            4,
            ("billing_pool_tag_precision", "billing_pool_embedding_precision"),
        ),
    ):
        assert (slopes.tags, slopes.embedding) == (2, embedding)
        assert (slopes.tag_precision, slopes.embedding_precision) == tuple(ODD[name] for name in names)


def test_the_level_follows_from_the_price() -> None:
    price = Price(usd_per_million_tokens_in=100, usd_per_million_tokens_out=100)
    assert Recipe(**ODD).level_from_price(price) == pytest.approx(0.55 + 2 * 0.05)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [-2.0, math.nan, math.inf])
def test_parameters_out_of_range_are_refused(name: str, value: float) -> None:
    bad: dict[str, Any] = {name: value}
    with pytest.raises(InvalidValueError, match=f"^{name} must be"):
        Recipe(**bad)


@pytest.mark.parametrize("name", ["latency_window_calls", "cost_scale_window"])
def test_windows_hold_at_least_one_call(name: str) -> None:
    """A window below 1 would make the decay negative."""
    below: dict[str, Any] = {name: 0.9}
    one: dict[str, Any] = {name: 1.0}
    with pytest.raises(InvalidValueError, match=f"^{name} must be >= 1"):
        Recipe(**below)
    assert getattr(Recipe(**one), name) == 1.0
