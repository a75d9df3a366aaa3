"""Every frozen regressor: round trips, read-only arrays, refusals."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tests.predictors.frozen_models import DIMENSION, draw, linear, one_of_each

from mixllm.errors import InvalidValueError, StateError
from mixllm.predictors import FROZEN_KINDS, FrozenRegressor, frozen_from_arrays

KINDS = range(len(one_of_each(np.random.default_rng(0))))


def model_of(place: int, seed: int = 1) -> FrozenRegressor:
    return one_of_each(np.random.default_rng(seed))[place]


@given(place=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_arrays_give_the_same_regressor_back(place: int, seed: int) -> None:
    model = model_of(place, seed)
    z = draw(np.random.default_rng(seed), 9, DIMENSION)
    again = frozen_from_arrays(model.kind, {name: array.copy() for name, array in model.arrays().items()})
    assert type(again) is type(model)
    assert again.dimension == model.dimension == DIMENSION
    assert np.array_equal(again.predict(z), model.predict(z))
    for name, array in again.arrays().items():
        assert np.array_equal(array, model.arrays()[name])
        assert array.dtype == model.arrays()[name].dtype


@pytest.mark.parametrize("place", KINDS)
def test_arrays_survive_a_file_without_pickle(place: int, tmp_path: Path) -> None:
    model = model_of(place)
    save_file(model.arrays(), tmp_path / "model.safetensors")
    z = draw(np.random.default_rng(3), 5, DIMENSION)
    again = frozen_from_arrays(model.kind, load_file(tmp_path / "model.safetensors"))
    assert np.array_equal(again.predict(z), model.predict(z))


@pytest.mark.parametrize("place", KINDS)
def test_predicts_float32_row_by_row_and_leaves_the_features_alone(place: int) -> None:
    model = model_of(place)
    z = draw(np.random.default_rng(4), 600, DIMENSION)
    kept = z.copy()
    together = model.predict(z)
    assert together.shape == (600,)
    assert together.dtype == np.float32
    assert np.array_equal(z, kept)
    assert together == pytest.approx(np.concatenate([model.predict(row[None, :]) for row in z]), abs=1e-5)
    assert np.array_equal(model.predict(z.astype(np.float64)), together)
    assert model.predict(z[:0]).shape == (0,)


@pytest.mark.parametrize("place", KINDS)
def test_nothing_can_be_changed_from_outside(place: int) -> None:
    model = model_of(place)
    own = {name: array.copy() for name, array in model.arrays().items()}
    frozen = frozen_from_arrays(model.kind, own)
    z = draw(np.random.default_rng(5), 3, DIMENSION)
    before = frozen.predict(z)
    for array in own.values():
        array[...] = 0
    assert np.array_equal(frozen.predict(z), before)
    for name, array in frozen.arrays().items():
        if name not in ("settings", "features_count"):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    for field in signature(type(frozen)).parameters:
        with pytest.raises(AttributeError):
            setattr(frozen, field, None)


@pytest.mark.parametrize("place", KINDS)
def test_wrong_features_are_refused(place: int) -> None:
    model = model_of(place)
    z = draw(np.random.default_rng(6), 3, DIMENSION)
    for wrong in (z[:, :-1], z[0], z[None], np.append(z, z[:, :1], axis=1)):
        with pytest.raises(InvalidValueError, match="features must be an array of shape"):
            model.predict(wrong)
    for value in (np.nan, np.inf, -np.inf, 1.1e3):
        spoilt = z.copy()
        spoilt[1, 2] = value
        with pytest.raises(InvalidValueError, match="features must be finite and within"):
            model.predict(spoilt)


@pytest.mark.parametrize("place", KINDS)
def test_damaged_arrays_are_refused(place: int) -> None:
    model = model_of(place)
    arrays = model.arrays()
    damaged = [{}, {**arrays, "stray": np.zeros(1, np.float32)}]
    for name, array in arrays.items():
        damaged += [
            {other: values for other, values in arrays.items() if other != name},
            {**arrays, name: array[None]},
            {**arrays, name: array[:0]},
            {**arrays, name: array.astype("<U8")},
            {**arrays, name: array.astype(object)},
            {**arrays, name: np.array(1.0)},
        ]
        for value in (np.nan, np.inf, -np.inf, 1e300):
            spoilt = array.astype(np.float64)
            spoilt.flat[-1] = value
            damaged.append({**arrays, name: spoilt})
    for state in damaged:
        with pytest.raises(StateError, match=r"Fit (it|them) again"):
            frozen_from_arrays(model.kind, state)


@pytest.mark.parametrize("place", KINDS[1:])
def test_any_array_one_row_too_long_or_short_is_refused(place: int) -> None:
    model = model_of(place)
    arrays = model.arrays()
    for name, array in arrays.items():
        if name in ("roots", "weights.0"):  # The forest's own tests look at its roots; other weights, other features.
            continue
        for other in (np.concatenate([array, array[-1:]]), array[:-1]):
            with pytest.raises(StateError, match=r"Fit (it|them) again"):
                frozen_from_arrays(model.kind, {**arrays, name: other})


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(StateError, match="No frozen predictor is of kind 'boost'; known are linear, forest, mlp"):
        frozen_from_arrays("boost", linear(np.random.default_rng(0)).arrays())
    assert set(FROZEN_KINDS) == {"linear", "forest", "mlp", "neighbours"}
