"""The bank gives what the models give one by one, and cannot be changed."""

from __future__ import annotations

import numpy as np
import pytest

from mixllm.errors import InvalidValueError
from mixllm.predictors import BayesianLinear, BlockPrior, LinearBank

PRIOR = BlockPrior(tags=4, embedding=6, tag_precision=2, embedding_precision=9, bias_precision=0.5, bias_mean=0.6)


def models(rng: np.random.Generator, count: int) -> list[BayesianLinear]:
    made = [BayesianLinear(prior=PRIOR, noise_variance=0.1 + 0.1 * row) for row in range(count)]
    for row, model in enumerate(made):
        for _ in range(7 * row):
            model.update(np.append(rng.uniform(-1, 1, 10), 1.0), float(rng.uniform(0, 1)))
    return made


@pytest.mark.parametrize("count", [1, 2, 11, 40])
def test_equals_the_models_one_by_one(rng: np.random.Generator, count: int) -> None:
    made = models(rng, count)
    bank = LinearBank.stack(made, prior_means=np.tile(PRIOR.mean(), (count, 1)))
    for _ in range(5):
        z = np.append(rng.uniform(-1, 1, 10), 1.0)
        means, stds = bank.predict(z.astype(np.float32))
        assert means.shape == stds.shape == (count,)
        assert means.dtype == stds.dtype == np.float64
        assert means == pytest.approx([model.predict(z).mean for model in made], abs=1e-5)
        assert stds == pytest.approx([model.predict(z).std for model in made], rel=1e-4)
        assert np.array_equal(bank.predict(z)[0], means)
    assert bank.residual_variances == pytest.approx([model.residual_variance() for model in made], rel=1e-6)


def test_prior_means_are_those_that_are_given(rng: np.random.Generator) -> None:
    made = models(rng, 3)
    others = rng.normal(size=(3, PRIOR.dimension))
    bank = LinearBank.stack(made, prior_means=others)
    expected = np.stack([model.mean_from(other) for model, other in zip(made, others, strict=True)])
    assert np.allclose(bank.means, expected, rtol=1e-6, atol=1e-6)


def test_later_learning_does_not_reach_it(rng: np.random.Generator) -> None:
    made = models(rng, 2)
    bank = LinearBank.stack(made, prior_means=np.tile(PRIOR.mean(), (2, 1)))
    z = np.append(rng.uniform(-1, 1, 10), 1.0)
    before = bank.predict(z)
    for _ in range(50):
        made[1].update(z, 5.0)
    after = bank.predict(z)
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    for array in (bank.means, bank.covariances, bank.residual_variances):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0.0


def test_a_pool_of_none_predicts_nothing() -> None:
    bank = LinearBank.stack([], prior_means=np.zeros((0, 3)))
    means, stds = bank.predict(np.ones(3))
    assert means.shape == stds.shape == (0,)


def test_rounding_never_makes_a_variance_negative() -> None:
    z = np.ones(2, np.float32)
    bank = LinearBank(
        means=np.zeros((1, 2), np.float32),
        covariances=np.array([[[1.0, -1.0000001], [-1.0, 1.0]]], np.float32),
        residual_variances=np.zeros(1, np.float32),
    )
    assert bank.predict(z)[1] == pytest.approx([0.0])


def test_shapes_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    ones = np.ones((2, 3), np.float32)
    squares = np.ones((2, 3, 3), np.float32)
    with pytest.raises(InvalidValueError, match=r"covariances must be an array of shape \(2, 3, 3\)"):
        LinearBank(means=ones, covariances=squares[:, :2], residual_variances=np.ones(2, np.float32))
    with pytest.raises(InvalidValueError, match=r"residual_variances must be an array of shape \(2,\)"):
        LinearBank(means=ones, covariances=squares, residual_variances=np.ones(3, np.float32))
    with pytest.raises(InvalidValueError, match="models must be 3, one for each row of prior_means"):
        LinearBank.stack(models(rng, 2), prior_means=np.zeros((3, PRIOR.dimension)))
