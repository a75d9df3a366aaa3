"""Frozen perceptrons equal scikit-learn's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from tests.predictors.frozen_models import DIMENSION, draw, mlp

from mixllm.errors import InvalidValueError
from mixllm.learning.offline import freeze_mlp
from mixllm.predictors import FrozenMLP


@pytest.mark.parametrize("hidden", [(5,), (16, 4), (3, 3, 3)])
def test_equals_scikit_learn(hidden: tuple[int, ...], rng: np.random.Generator) -> None:
    z = draw(rng, 300, DIMENSION)
    model = MLPRegressor(hidden_layer_sizes=hidden, max_iter=15, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(z.astype(np.float64), np.abs(z[:, 0]) + z[:, 1])
    fresh = draw(rng, 500, DIMENSION)
    assert np.allclose(freeze_mlp(model).predict(fresh), model.predict(fresh.astype(np.float64)), rtol=1e-4, atol=1e-5)
    centre, inverse = z.mean(axis=0).astype(np.float64), 1.0 / z.std(axis=0).astype(np.float64)
    scaled = freeze_mlp(model, centre=centre, inverse_scale=inverse, level=0.5, spread=2.0)
    expected = 0.5 + 2.0 * model.predict((fresh - centre) * inverse)
    assert np.allclose(scaled.predict(fresh), expected, rtol=1e-4, atol=1e-5)


def test_other_activations_are_refused(rng: np.random.Generator) -> None:
    z = draw(rng, 50, 2)
    model = MLPRegressor(hidden_layer_sizes=(2,), activation="tanh", max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(z, z[:, 0])
    with pytest.raises(InvalidValueError, match="relu units"):
        freeze_mlp(model)


def test_layers_have_to_follow_each_other(rng: np.random.Generator) -> None:
    sound = mlp(rng, 4, 3)
    w, b = sound.weights, sound.biases
    assert sound.dimension == DIMENSION
    for weights, biases in (
        ((), ()),
        (w[:2], b),
        ((w[0], w[2]), (b[0], b[2])),
        (w[:2], b[:2]),
        ((w[1], w[0], w[2]), b),
        (w, (b[0], b[1][:2], b[2])),
        ((*w[:2], np.ones((3, 2), np.float32)), (*b[:2], np.ones(2, np.float32))),
        ((w[2].T,) * 9, (b[2],) * 9),
    ):
        with pytest.raises(InvalidValueError, match="weights"):
            FrozenMLP(weights=weights, biases=biases)
