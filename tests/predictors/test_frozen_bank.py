"""The bank gives what its regressors give one by one, and keeps a shared index once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.predictors.frozen_models import DIMENSION, draw, forest, linear, mlp, neighbours, one_of_each

from mixllm.errors import InvalidValueError, StateError
from mixllm.predictors import FrozenBank, FrozenLinear, FrozenRegressor, unit_rows


def shared(rng: np.random.Generator) -> list[FrozenRegressor]:
    """Neighbours of equal vectors in different arrays, with different settings, and others between them."""
    vectors = unit_rows(draw(rng, 30, DIMENSION))
    return [
        neighbours(rng, vectors=vectors.copy(), k=5),
        linear(rng),
        neighbours(rng, vectors=vectors.copy(), k=11, weighting="distance"),
        neighbours(rng, k=3),
        neighbours(rng, vectors=vectors.copy(), k=11),
        neighbours(rng, vectors=vectors.copy(), k=5),
        neighbours(rng, vectors=vectors.copy(), k=30, weighting="distance"),
    ]


def check(bank: FrozenBank, models: list[FrozenRegressor], rng: np.random.Generator) -> None:
    z = draw(rng, 8, DIMENSION)
    columns = np.stack([model.predict(z) for model in models], axis=1)
    assert bank.predict_rows(z) == pytest.approx(columns, abs=1e-6)
    for row, expected in zip(z, columns, strict=True):
        predicted = bank.predict(row)
        assert predicted.shape == (len(models),)
        assert predicted.dtype == np.float32
        assert predicted == pytest.approx(expected, abs=1e-5)


@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_equals_the_regressors_one_by_one(seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    pool = one_of_each(rng) + shared(rng)
    chosen = data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=14))
    check(FrozenBank(models=chosen), chosen, rng)


@pytest.mark.parametrize("make", [linear, mlp, forest, neighbours])
@pytest.mark.parametrize("count", [1, 11])
def test_equals_many_of_one_kind(make: object, count: int, rng: np.random.Generator) -> None:
    assert callable(make)
    models = [make(rng) for _ in range(count)]
    bank = FrozenBank(models=models)
    assert len(bank) == count
    check(bank, models, rng)


def test_a_shared_index_is_held_and_saved_once(rng: np.random.Generator) -> None:
    models = shared(rng)
    bank = FrozenBank(models=models)
    same = [bank.models[row] for row in (0, 2, 4, 5, 6)]
    assert len({id(model.arrays()["vectors"]) for model in same}) == 1
    arrays = bank.arrays()
    assert sorted(name for name in arrays if name.endswith(".vectors")) == ["0.vectors", "3.vectors"]
    again = FrozenBank.from_arrays(bank.kinds, {name: array.copy() for name, array in arrays.items()})
    assert again.kinds == bank.kinds
    assert again.models[2].arrays()["vectors"] is again.models[0].arrays()["vectors"]
    z = draw(rng, DIMENSION)
    assert np.array_equal(again.predict(z), bank.predict(z))
    check(again, models, rng)


@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(17)))
def test_arrays_give_the_same_bank_back(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    pool = one_of_each(rng) + shared(rng)
    bank = FrozenBank(models=[pool[place] for place in order])
    again = FrozenBank.from_arrays(bank.kinds, bank.arrays())
    z = draw(rng, DIMENSION)
    assert np.array_equal(again.predict(z), bank.predict(z))


def test_features_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    bank = FrozenBank(models=one_of_each(rng))
    z = draw(rng, DIMENSION)
    for wrong in (z[:-1], np.append(z, 1.0), z[None]):
        with pytest.raises(InvalidValueError, match="features must be an array of shape"):
            bank.predict(wrong)
    for value in (np.nan, np.inf, -1e4):
        spoilt = z.copy()
        spoilt[0] = value
        with pytest.raises(InvalidValueError, match="features must be finite"):
            bank.predict(spoilt)


def test_regressors_that_do_not_fit_together_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(InvalidValueError, match="at least one, all of one dimension"):
        FrozenBank(models=[])
    other = FrozenLinear(weights=draw(rng, DIMENSION + 1))
    with pytest.raises(InvalidValueError, match="all of one dimension"):
        FrozenBank(models=[linear(rng), other])
    with pytest.raises(StateError, match="do not fit together"):
        FrozenBank.from_arrays(
            ("linear", "linear"), {"0.weights": np.ones(2, np.float32), "1.weights": np.ones(3, np.float32)}
        )
    with pytest.raises(StateError, match="do not fit together"):
        FrozenBank.from_arrays((), {})


def test_damaged_arrays_are_refused(rng: np.random.Generator) -> None:
    bank = FrozenBank(models=shared(rng))
    arrays = bank.arrays()
    for name in arrays:
        with pytest.raises(StateError):
            FrozenBank.from_arrays(bank.kinds, {other: array for other, array in arrays.items() if other != name})
    for stray in ("7.weights", "weights", "-1.weights", "x.y", "01.weights", "9" * 5000 + ".weights"):
        with pytest.raises(StateError, match="belongs to none of 7"):
            FrozenBank.from_arrays(bank.kinds, {**arrays, stray: np.ones(DIMENSION, np.float32)})
    for owner in ([1], [2], [7], [-1], [0, 0], [0.0], []):
        with pytest.raises(StateError, match="they name no vectors that came before"):
            FrozenBank.from_arrays(bank.kinds, {**arrays, "2.vectors_of": np.array(owner)})
    with pytest.raises(StateError, match="No frozen predictor is of kind"):
        FrozenBank.from_arrays(("tree", *bank.kinds[1:]), arrays)
