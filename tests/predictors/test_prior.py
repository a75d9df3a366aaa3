"""Priors: blocks, ranges, and the quality that a price suggests."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError
from mixllm.predictors import BlockPrior, quality_from_price
from mixllm.types import Price

GIVEN: dict[str, Any] = {
    "tags": 2,
    "embedding": 3,
    "tag_precision": 1.5,
    "embedding_precision": 9.5,
    "bias_precision": 4.5,
    "bias_mean": -0.25,
}


def test_parameters_reach_their_attributes() -> None:
    prior = BlockPrior(**GIVEN)
    assert {name: getattr(prior, name) for name in GIVEN} == GIVEN
    assert prior.dimension == 6
    assert prior.precision().tolist() == [1.5, 1.5, 9.5, 9.5, 9.5, 4.5]
    assert prior.mean().tolist() == [0, 0, 0, 0, 0, -0.25]


def test_it_is_frozen_and_its_arrays_are_copies() -> None:
    prior = BlockPrior(**GIVEN)
    with pytest.raises(FrozenInstanceError):
        prior.tags = 3  # type: ignore[misc]
    prior.precision()[:] = 0
    prior.mean()[:] = 9
    assert prior.precision().min() == 1.5
    assert prior.mean().max() == 0


@pytest.mark.parametrize("blocks", [(0, 0), (0, 4), (4, 0)])
def test_blocks_may_be_empty(blocks: tuple[int, int]) -> None:
    tags, embedding = blocks
    prior = BlockPrior(**{**GIVEN, "tags": tags, "embedding": embedding})
    assert prior.precision().shape == prior.mean().shape == (tags + embedding + 1,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, -1) for name in ("tags", "embedding")],
        *[
            (name, value)
            for name in ("tag_precision", "embedding_precision", "bias_precision")
            for value in (0, -1, math.nan, math.inf)
        ],
        *[("bias_mean", value) for value in (math.nan, math.inf)],
    ],
)
def test_values_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=f"^{name} must be"):
        BlockPrior(**{**GIVEN, name: value})


def price(usd: float) -> Price:
    return Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd)


def test_quality_from_price_has_its_form() -> None:
    assert quality_from_price(price(1.0)) == pytest.approx(0.7)
    assert quality_from_price(price(10.0)) == pytest.approx(0.8)
    assert quality_from_price(price(0.01)) == pytest.approx(0.5)
    assert quality_from_price(price(10.0), at_one_usd=0.5, per_decade=0.3) == pytest.approx(0.8)
    assert quality_from_price(price(10.0), at_one_usd=0.5, per_decade=-0.05) == pytest.approx(0.45)
    assert quality_from_price(price(0.0)) == 0.4
    assert quality_from_price(price(1e9)) == 0.9


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_dearer_is_never_expected_to_be_worse(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0.4 <= quality_from_price(price(low)) <= quality_from_price(price(high)) <= 0.9
    assert np.isfinite(quality_from_price(price(low)))
