"""Lengths: features, the way back from logarithms, and what is learned."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError
from mixllm.predictors import BlockPrior, LengthPredictor, length_features, tokens_from_log
from mixllm.predictors.length import MAX_LOG_TOKENS

PRIOR = BlockPrior(
    tags=2, embedding=3, tag_precision=1.0, embedding_precision=4.0, bias_precision=0.5, bias_mean=math.log1p(300)
)


def test_parameters_reach_their_attributes() -> None:
    model = LengthPredictor(prior=PRIOR, noise_variance=0.35)
    assert (model.prior, model.noise_variance) == (PRIOR, 0.35)
    assert (model.log_model.prior, model.log_model.noise_variance) == (PRIOR, 0.35)
    assert (model.clone().prior, model.clone().noise_variance) == (PRIOR, 0.35)
    assert model.dimension == 6


def test_features_hold_the_prompt_length_before_the_constant() -> None:
    z = np.array([0.2, 0.8, -0.5, 1.0], np.float32)
    extended = length_features(z, 3_000)
    assert extended.dtype == np.float32
    assert extended.shape == (5,)
    assert np.array_equal(extended[[0, 1, 2, 4]], z)
    assert extended[3] == pytest.approx(0.1 * math.log(10))
    assert length_features(z, 300)[3] == 0.0
    assert length_features(z, 0)[3] == length_features(z, 1)[3] < 0
    assert np.isfinite(length_features(z, 2**53)).all()


def one(mean: float, std: float, residual_variance: float) -> tuple[float, float]:
    tokens, spread = tokens_from_log(np.array([mean]), np.array([std]), np.array([residual_variance]))
    return float(tokens[0]), float(spread[0])


@pytest.mark.parametrize("median", [3.0, 40.0, 1_000.0])
@pytest.mark.parametrize("variance", [0.0, 0.05, 0.5])
def test_equals_the_moments_of_the_lognormal(median: float, variance: float) -> None:
    """1 + tokens is lognormal: mean exp(μ + s²/2), variance (exp(s²) − 1) exp(2μ + s²)."""
    mu = math.log1p(median)
    tokens, std = one(mu, 0.0, variance)
    assert tokens == pytest.approx(math.exp(mu + variance / 2) - 1, rel=1e-12)
    assert std == pytest.approx(math.sqrt((math.exp(variance) - 1) * math.exp(2 * mu + variance)), rel=1e-12)


def test_the_std_counts_scatter_and_uncertainty() -> None:
    mu = math.log1p(100)
    assert one(mu, 0.3, 0.0)[0] == one(mu, 0.0, 0.0)[0]
    assert one(mu, 0.3, 0.0)[1] == pytest.approx(math.exp(mu) * math.sqrt(math.expm1(0.09)))
    assert one(mu, 0.3, 0.2)[1] == pytest.approx(math.exp(mu + 0.1) * math.sqrt(math.expm1(0.29)))


def test_planted_lengths_are_recovered_without_bias() -> None:
    """The mean of what was drawn, not its median: exp(μ) alone would be 22 % too low here."""
    rng = np.random.default_rng(3)
    scatter = 0.5
    slopes = np.array([0.6, -0.4, 0.5, 0.0, -0.3, math.log(250.0)])
    model = LengthPredictor(prior=PRIOR, noise_variance=0.3)
    for _ in range(4_000):
        z = np.append(rng.uniform(-1, 1, 5), 1.0)
        model.update(z, math.expm1(rng.normal(z @ slopes, math.sqrt(scatter))))
    assert model.log_model.residual_variance() == pytest.approx(scatter, rel=0.05)
    for _ in range(5):
        z = np.append(rng.uniform(-1, 1, 5), 1.0)
        drawn = np.expm1(rng.normal(z @ slopes, math.sqrt(scatter), 200_000))
        estimate = model.predict(z)
        assert estimate.mean == pytest.approx(drawn.mean(), rel=0.08)
        assert estimate.std == pytest.approx(drawn.std(), rel=0.12)
        assert estimate.mean > 1.1 * np.median(drawn)


def test_lengths_are_bounded_whatever_the_features() -> None:
    model = LengthPredictor(prior=PRIOR, noise_variance=0.3)
    for z in (1e3 * np.ones(6), -1e3 * np.ones(6)):
        for target in (0.0, 2.0**53):
            model.update(z, target)
    for z in (1e3 * np.ones(6), -1e3 * np.ones(6)):
        estimate = model.predict(z)
        assert 1.0 <= estimate.mean <= math.exp(MAX_LOG_TOKENS)
        assert 0.0 <= estimate.std < math.inf


@given(
    st.floats(-1e3, 1e3),
    st.floats(0, 1e3),
    st.floats(0, 1e3),
)
def test_any_logarithm_gives_finite_tokens(mean: float, std: float, residual_variance: float) -> None:
    tokens, spread = one(mean, std, residual_variance)
    assert 1.0 <= tokens <= 1_000_001
    assert 0.0 <= spread < math.inf


def test_a_pool_of_none_has_no_lengths() -> None:
    tokens, std = tokens_from_log(np.zeros(0), np.zeros(0), np.zeros(0))
    assert tokens.shape == std.shape == (0,)


@pytest.mark.parametrize("target", [-1.0, math.nan, math.inf])
def test_lengths_out_of_range_are_refused(target: float) -> None:
    model = LengthPredictor(prior=PRIOR, noise_variance=0.3)
    with pytest.raises(InvalidValueError, match="target must be a finite number >= 0"):
        model.update(np.ones(6), target)
    assert model.observations == 0


@pytest.mark.parametrize("noise", [0.0, -1.0, math.nan])
def test_noise_out_of_range_is_refused(noise: float) -> None:
    with pytest.raises(InvalidValueError, match="noise_variance must be"):
        LengthPredictor(prior=PRIOR, noise_variance=noise)
