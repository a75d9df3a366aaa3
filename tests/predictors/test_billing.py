"""The billing factor: what a call costs beside what its tokens cost at list price."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixllm.errors import InvalidValueError
from mixllm.predictors import (
    MAX_BILLING_FACTOR,
    BayesianLinear,
    BillingFactors,
    BlockPrior,
    log_billing_factor,
)


def _model(*, noise_variance: float = 0.02) -> BayesianLinear:
    prior = BlockPrior(
        tags=1, embedding=1, tag_precision=1.0, embedding_precision=1.0, bias_precision=1.0, bias_mean=0.0
    )
    return BayesianLinear(prior=prior, noise_variance=noise_variance)


def _factors(*models: BayesianLinear) -> BillingFactors:
    return BillingFactors.stack(models, prior_means=np.zeros((len(models), 3)))


def test_the_log_factor_is_the_log_of_the_ratio() -> None:
    assert log_billing_factor(billed_usd=0.03, listed_usd=0.01) == pytest.approx(math.log(3.0))


@pytest.mark.parametrize(("billed_usd", "listed_usd"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_free_calls_say_nothing(billed_usd: float, listed_usd: float) -> None:
    assert log_billing_factor(billed_usd=billed_usd, listed_usd=listed_usd) is None


def test_absurd_ratios_are_bounded() -> None:
    assert log_billing_factor(billed_usd=1e9, listed_usd=1e-9) == pytest.approx(math.log(MAX_BILLING_FACTOR))
    assert log_billing_factor(billed_usd=1e-9, listed_usd=1e9) == pytest.approx(-math.log(MAX_BILLING_FACTOR))


def test_without_evidence_the_factor_is_about_one() -> None:
    assert _factors(_model()).predict(np.array([1.0, 0.0, 1.0])) == pytest.approx([1.0], abs=0.02)


def test_a_planted_factor_is_found_where_it_was_planted() -> None:
    model = _model()
    rng = np.random.default_rng(0)
    for _ in range(300):
        tagged = float(rng.random() < 0.5)
        log_factor = math.log(2.5 if tagged else 1.0) + float(rng.normal(0.0, 0.1))
        model.update(np.array([tagged, 0.0, 1.0]), log_factor)
    factors = _factors(model)
    assert factors.predict(np.array([1.0, 0.0, 1.0])) == pytest.approx([2.5], rel=0.05)
    assert factors.predict(np.array([0.0, 0.0, 1.0])) == pytest.approx([1.0], rel=0.05)


def test_the_mean_of_scattered_factors_is_not_underestimated() -> None:
    model = _model(noise_variance=0.25)
    rng = np.random.default_rng(1)
    logs = rng.normal(0.0, 0.5, 2000)
    for log_factor in logs:
        model.update(np.array([0.0, 0.0, 1.0]), float(log_factor))
    predicted = _factors(model).predict(np.array([0.0, 0.0, 1.0]))[0]
    assert predicted == pytest.approx(float(np.exp(logs).mean()), rel=0.05)


def test_forecasts_stay_within_the_bound() -> None:
    factors = BillingFactors(means=np.array([[0.0, 0.0, 50.0]]), residual_variances=np.array([0.0]))
    assert factors.predict(np.array([0.0, 0.0, 1.0])) == pytest.approx([MAX_BILLING_FACTOR])


def test_shapes_have_to_fit() -> None:
    with pytest.raises(InvalidValueError, match="residual_variances"):
        BillingFactors(means=np.zeros((2, 3)), residual_variances=np.zeros(3))


def test_it_is_frozen() -> None:
    factors = _factors(_model())
    with pytest.raises(ValueError, match="read-only"):
        factors.means[0, 0] = 1.0
