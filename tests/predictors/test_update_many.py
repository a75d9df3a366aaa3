"""Many observations at once equal as many single ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.predictors import BayesianLinear, BlockPrior, QualityPredictor

PRIOR = BlockPrior(tags=2, embedding=3, tag_precision=2.0, embedding_precision=8.0, bias_precision=0.7, bias_mean=0.4)
KINDS = [BayesianLinear, QualityPredictor]


def made(kind: type[BayesianLinear] = BayesianLinear) -> BayesianLinear:
    model = kind(prior=PRIOR, noise_variance=0.15)
    model.update(np.full(6, 0.3), 0.5, weight=2.0)
    return model


def draw(count: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(count, 6)).astype(np.float32), rng.uniform(size=count)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 6, 400])
def test_many_are_as_many_single_ones(kind: type[BayesianLinear], count: int) -> None:
    z, y = draw(count)
    single, many = made(kind), made(kind)
    for features, target in zip(z, y.tolist(), strict=True):
        single.update(features, target)
    many.update_many(z, y)
    for name, array in single.state().items():
        np.testing.assert_allclose(many.state()[name], array, rtol=1e-9, atol=1e-12)
    assert many.observations == single.observations
    np.testing.assert_allclose(many.mean, single.mean, rtol=1e-8)
    np.testing.assert_allclose(many.covariance, single.covariance, rtol=1e-7, atol=1e-12)


def test_in_parts_is_at_once() -> None:
    z, y = draw(90)
    parts, at_once = made(), made()
    parts.update_many(z[:40], y[:40])
    parts.update(z[40], float(y[40]))
    parts.update_many(z[41:], y[41:])
    at_once.update_many(z, y)
    np.testing.assert_allclose(parts.mean, at_once.mean, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("parameter", "changed"),
    [
        ("features", {"features": np.ones((3, 5))}),
        ("features", {"features": np.ones(6)}),
        ("features", {"features": np.ones((4, 6))}),
        ("features", {"targets": np.ones(2)}),
        ("features", {"targets": np.ones((3, 1))}),
        ("features", {"features": np.full((3, 6), np.nan)}),
        ("features", {"features": np.full((3, 6), 1.1e3)}),
        ("targets", {"targets": np.array([0.5, np.nan, 0.5])}),
        ("targets", {"targets": np.array([0.5, 1.1e9, 0.5])}),
        ("targets", {"targets": np.array([0.5, -np.inf, 0.5])}),
    ],
)
def test_what_does_not_fit_leaves_the_state(
    kind: type[BayesianLinear], parameter: str, changed: dict[str, Any]
) -> None:
    model = made(kind)
    before, mean = model.state(), model.mean
    with pytest.raises(InvalidValueError) as caught:
        model.update_many(**{"features": np.ones((3, 6)), "targets": np.full(3, 0.5), **changed})
    assert caught.value.parameter == parameter
    assert all(np.array_equal(before[name], array) for name, array in model.state().items())
    assert np.array_equal(model.mean, mean)


def test_only_fractions_are_qualities() -> None:
    model = made(QualityPredictor)
    before = model.state()
    for bad in (-1e-9, 1 + 1e-9, 2.0):
        with pytest.raises(InvalidValueError, match=r"targets must be (numbers )?between 0 and 1"):
            model.update_many(np.ones((2, 6)), np.array([0.5, bad]))
    assert all(np.array_equal(before[name], array) for name, array in model.state().items())
