"""Families fitted to a whole pool: what they find, whom they leave out, and that LLMs do not disturb one another."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.learning.offline.family import FittedPool
from mixllm.learning.offline.pool_fits import POOL_FAMILIES, pool_families, ridge_family

NAMES = tuple(POOL_FAMILIES)
MEMBERS = tuple(pool_families(NAMES))


def world(rows: int = 400, llms: int = 3, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    z = np.hstack([rng.normal(size=(rows, 4)), np.ones((rows, 1))]).astype(np.float32)
    steps = np.stack([(z[:, place % 4] > 0) for place in range(llms)], axis=1)
    return z, 0.2 + 0.6 * steps + 0.05 * rng.normal(size=(rows, llms))


def fitted(name: str, z: NDArray[np.float32], y: NDArray[np.float64]) -> FittedPool:
    made = pool_families(NAMES)[name](z, y, rng=np.random.default_rng(3))
    assert isinstance(made, FittedPool)
    return made


@pytest.mark.parametrize("name", MEMBERS)
def test_it_finds_each_llms_own_truth(name: str) -> None:
    z, y = world()
    new, truth = world(seed=1)
    predicted = fitted(name, z, y).predict_rows(new)
    assert predicted.shape == truth.shape
    for column in range(3):
        correlations = [np.corrcoef(predicted[:, column], truth[:, other])[0, 1] for other in range(3)]
        assert int(np.argmax(correlations)) == column
        assert correlations[column] > 0.6


@pytest.mark.parametrize("name", MEMBERS)
def test_llms_asked_other_queries_do_not_disturb(name: str) -> None:
    z, y = world()
    y[::2, 1] = np.nan
    y[30:, 2] = np.nan
    pool = fitted(name, z, y)
    assert [model is None for model in pool.models] == [False, False, True], "30 targets are too few"
    alone = fitted(name, z, y[:, 1:2])
    assert pool.predict_rows(z[:9])[:, 1] == pytest.approx(alone.predict_rows(z[:9])[:, 0], abs=1e-6)


def test_unknown_families_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="oracle"):
        pool_families(("forest", "oracle"))
    assert set(pool_families(("knn",))) == {"knn-20", "knn-80"}


def test_ridges_are_the_normal_equations_and_leave_the_constant_free() -> None:
    z, y = world(llms=2)
    pool = ridge_family(tags=1, tag_ratio=2.0, embedding_ratio=7.0)(z, y, rng=np.random.default_rng(0))
    rows = z.astype(np.float64)
    penalty = np.diag([2.0, 7.0, 7.0, 7.0, 0.0])
    weights = np.linalg.solve(rows.T @ rows + penalty, rows.T @ y)
    assert np.asarray(pool.predict_rows(z)) == pytest.approx(rows @ weights, abs=1e-5)
