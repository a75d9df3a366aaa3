from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError
from mixllm.logs import fit_price

NAN = float("nan")


@given(price_in=st.floats(0, 100), price_out=st.floats(0, 100), seed=st.integers(0, 2**32))
def test_finds_the_prices_that_made_the_costs(price_in: float, price_out: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens_in, tokens_out = rng.integers(10, 2000, size=(2, 50)).astype(float)
    price = fit_price(
        cost_usd=(tokens_in * price_in + tokens_out * price_out) / 1e6, tokens_in=tokens_in, tokens_out=tokens_out
    )
    assert price.usd_per_million_tokens_in == pytest.approx(price_in, abs=1e-5)
    assert price.usd_per_million_tokens_out == pytest.approx(price_out, abs=1e-5)


@given(
    calls=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 500), st.integers(0, 500)), min_size=3, max_size=20),
    step=st.tuples(st.floats(0, 50), st.floats(0, 50)),
)
def test_no_other_prices_explain_the_costs_better(
    calls: list[tuple[float, int, int]], step: tuple[float, float]
) -> None:
    cost_usd, tokens_in, tokens_out = np.array(calls, dtype=float).T
    if not (tokens_in.any() or tokens_out.any()):
        return
    price = fit_price(cost_usd=cost_usd, tokens_in=tokens_in, tokens_out=tokens_out)
    found = np.array([price.usd_per_million_tokens_in, price.usd_per_million_tokens_out])

    def loss(prices: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        return float(((cost_usd - (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6) ** 2).sum())

    assert (found >= 0).all()
    for other in (found + step, np.maximum(found - step, 0.0), np.array(step)):
        assert loss(found) <= loss(other) + 1e-9


def test_leaves_calls_with_gaps_out() -> None:
    price = fit_price(
        cost_usd=np.array([1.0, NAN, 9.0, 2.0]),
        tokens_in=np.array([1e6, 1.0, NAN, 0.0]),
        tokens_out=np.array([0.0, 1.0, 1.0, 1e6]),
    )
    assert (price.usd_per_million_tokens_in, price.usd_per_million_tokens_out) == (1.0, 2.0)


def test_free_calls_without_tokens_are_free() -> None:
    price = fit_price(cost_usd=np.zeros(2), tokens_in=np.zeros(2), tokens_out=np.zeros(2))
    assert (price.usd_per_million_tokens_in, price.usd_per_million_tokens_out) == (0.0, 0.0)


@pytest.mark.parametrize("tokens", [NAN, 0.0])
def test_refuses_costs_that_nothing_explains(tokens: float) -> None:
    with pytest.raises(InvalidValueError, match="tokens_in must be"):
        fit_price(cost_usd=np.ones(2), tokens_in=np.full(2, tokens), tokens_out=np.full(2, tokens))
