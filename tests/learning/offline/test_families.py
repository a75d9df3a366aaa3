"""What is fitted offline: the planted truth is found, NaN rows are left out, bad input is refused."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, MissingExtraError
from mixllm.learning.offline import (
    FitOne,
    FittedPool,
    ForestParameters,
    KNNParameters,
    MLPParameters,
    fit_forest,
    fit_knn,
    fit_mlp,
    fit_ridge,
    paper_fitters,
    per_llm,
)
from mixllm.learning.offline.families import MIN_FIT_ROWS
from mixllm.predictors import FrozenBank, FrozenForest, FrozenNeighbours

SMALL = ForestParameters(trees=10, max_depth=4, min_leaf=5, max_features=1.0, max_samples=1.0)
FITS: dict[str, FitOne] = {
    "forest": partial(fit_forest, parameters=SMALL),
    "mlp": fit_mlp,
    "knn": partial(fit_knn, parameters=KNNParameters(neighbours=10)),
    "ridge": fit_ridge,
}


def data(seed: int = 0, rows: int = 600) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    z = rng.uniform(-1, 1, (rows, 6)).astype(np.float32)
    z[:, -1] = 1.0
    return z, 0.5 + 0.4 * z[:, 0].astype(np.float64) + rng.normal(0, 0.05, rows)


@pytest.mark.parametrize("name", FITS)
def test_finds_what_there_is_to_find(name: str) -> None:
    (z, y), (fresh, truth) = data(), data(1)
    model = FITS[name](z, y, rng=np.random.default_rng(0))
    assert model.dimension == 6
    assert np.mean((model.predict(fresh) - truth) ** 2) < 0.5 * truth.var()


@pytest.mark.parametrize("name", FITS)
def test_rows_without_a_target_teach_nothing(name: str) -> None:
    z, y = data()
    with_gaps = y.copy()
    with_gaps[::3] = np.nan
    known = ~np.isnan(with_gaps)
    one = FITS[name](z, with_gaps, rng=np.random.default_rng(0))
    other = FITS[name](z[known], y[known], rng=np.random.default_rng(0))
    assert np.array_equal(one.predict(z), other.predict(z))


@pytest.mark.parametrize("name", FITS)
def test_the_same_generator_gives_the_same_regressor(name: str) -> None:
    z, y = data(rows=300)
    one, other = (FITS[name](z, y, rng=np.random.default_rng(7)).predict(z) for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("name", FITS)
def test_a_constant_target_is_learned(name: str) -> None:
    z, y = data(rows=100)
    model = FITS[name](z, np.full_like(y, 0.25), rng=np.random.default_rng(0))
    assert model.predict(z) == pytest.approx(np.full(100, 0.25), abs=0.05)


@pytest.mark.parametrize("name", FITS)
def test_bad_data_are_refused(name: str) -> None:
    z, y = data(rows=MIN_FIT_ROWS)
    fit = partial(FITS[name], rng=np.random.default_rng(0))
    assert np.isfinite(fit(z, y).predict(z)).all()
    few, infinite, spoilt = y.copy(), y.copy(), z.copy()
    few[0], infinite[0], spoilt[0, 0] = np.nan, np.inf, np.nan
    for features, targets, words in (
        (z, few, "at least 20 known numbers"),
        (z, infinite, "targets must be finite, or NaN"),
        (spoilt, y, "features must be finite"),
        (z, y[:-1], "one for each of the features' rows"),
        (z, y[:, None], "one for each of the features' rows"),
        (z[:, 0], y, "one for each of the features' rows"),
    ):
        with pytest.raises(InvalidValueError, match=words):
            fit(features, targets)


def test_threads_do_not_change_the_forest() -> None:
    z, y = data(rows=200)
    one, two = (fit_forest(z, y, rng=np.random.default_rng(0), parameters=SMALL, jobs=jobs) for jobs in (1, 2))
    assert np.array_equal(one.predict(z), two.predict(z))


def test_parameters_reach_the_forest() -> None:
    z, y = data()
    model = fit_forest(z, y, rng=np.random.default_rng(0), parameters=ForestParameters(trees=7, max_depth=2))
    assert isinstance(model, FrozenForest)
    assert len(model.roots) == 7
    assert model.depth == 2


def test_parameters_reach_the_perceptron() -> None:
    z, y = data(rows=100)
    model = fit_mlp(z, y, rng=np.random.default_rng(0), parameters=MLPParameters(hidden=(5, 3), epochs=2))
    assert [matrix.shape for matrix in model.weights] == [(6, 5), (5, 3), (3, 1)]


def test_a_feature_that_was_constant_in_training_gets_no_weight() -> None:
    z, y = data()
    z[:, 2] = 0.5
    model = fit_mlp(z, y, rng=np.random.default_rng(0))
    moved = z.copy()
    moved[:, 2] = 100.0
    assert np.array_equal(model.predict(moved), model.predict(z))


def test_the_index_is_bounded_and_shared_by_llms_judged_on_the_same_queries() -> None:
    z, y = data()
    family = per_llm(partial(fit_knn, parameters=KNNParameters(neighbours=5, max_rows=100)))
    targets = np.stack([y, 1 - y, y], axis=1)
    targets[:50, 2] = np.nan
    pool = family(z, targets, rng=np.random.default_rng(0))
    assert isinstance(pool, FittedPool)
    models = [model for model in pool.models if isinstance(model, FrozenNeighbours)]
    assert [len(model.vectors) for model in models] == [100] * 3
    assert np.array_equal(models[0].vectors, models[1].vectors)
    bank = FrozenBank(models=models)
    assert bank.models[0].arrays()["vectors"] is bank.models[1].arrays()["vectors"]
    assert bank.predict(z[0]) == pytest.approx(pool.predict_rows(z[:1])[0], abs=1e-5)
    few = fit_knn(z[:30], y[:30], rng=np.random.default_rng(0), parameters=KNNParameters(neighbours=80))
    assert few.neighbours == 30


def test_an_llm_with_few_targets_gets_no_model_and_moves_no_other() -> None:
    z, y = data()
    targets = np.stack([y, np.full_like(y, np.nan), y], axis=1)
    targets[:30, 1] = 0.5
    family = per_llm(FITS["forest"], min_rows=31)
    pool = family(z, targets, rng=np.random.default_rng(0)).predict_rows(z)
    assert np.isnan(pool[:, 1]).all()
    alone = family(z, targets[:, 2:], rng=np.random.default_rng(0)).predict_rows(z)
    assert np.array_equal(pool[:, 2:], alone)
    with pytest.raises(InvalidValueError, match="min_rows must be >= 1"):
        per_llm(fit_ridge, min_rows=0)


@pytest.mark.parametrize("fit", [fit_forest, fit_mlp])
def test_without_scikit_learn_the_extra_is_named(fit: FitOne, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sklearn.ensemble", "sklearn.neural_network", "sklearn.exceptions"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"mixllm\[fit\]"):
        fit(*data(), rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (ForestParameters, {"trees": 0}),
        (ForestParameters, {"max_depth": 17}),
        (ForestParameters, {"min_leaf": 0}),
        (ForestParameters, {"max_features": 0.0}),
        (ForestParameters, {"max_samples": 1.1}),
        (MLPParameters, {"hidden": ()}),
        (MLPParameters, {"hidden": (0,)}),
        (MLPParameters, {"hidden": (4,) * 5}),
        (MLPParameters, {"epochs": 0}),
        (MLPParameters, {"batch_rows": 0}),
        (MLPParameters, {"penalty": -1.0}),
        (MLPParameters, {"learning_rate": float("nan")}),
        (KNNParameters, {"neighbours": 0}),
        (KNNParameters, {"max_rows": 100_001}),
        (KNNParameters, {"weighting": "cosine"}),
    ],
)
def test_parameters_out_of_range_are_refused(kind: Any, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(bad))):
        kind(**bad)


def test_ridge_equals_the_direct_solve_and_does_not_shrink_the_level() -> None:
    z, y = data()
    strong = fit_ridge(z, 5.0 + y, precision=1e9)
    assert strong.weights[:-1] == pytest.approx(np.zeros(5), abs=1e-6)
    assert strong.weights[-1] == pytest.approx(5.0 + y.mean(), abs=1e-4)
    weak = fit_ridge(z, y, precision=1e-9)
    assert weak.weights == pytest.approx(np.linalg.lstsq(z.astype(np.float64), y, rcond=None)[0], abs=1e-5)
    with pytest.raises(InvalidValueError, match="precision"):
        fit_ridge(z, y, precision=0.0)


def test_the_grid_has_all_three_of_the_paper() -> None:
    z, y = data(rows=120)
    kinds = {name: fit(z, y, rng=np.random.default_rng(0)).kind for name, fit in paper_fitters(jobs=2).items()}
    assert kinds == {"forest": "forest", "mlp": "mlp", "knn-20": "neighbours", "knn-80": "neighbours"}
