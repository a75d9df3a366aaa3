"""The fitted projections."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.learning.offline.projection_fit import fit_principal, fit_separating
from mixllm.tags.separation import one_hot


def vectors(count: int = 200, *, seed: int = 0) -> NDArray[np.float32]:
    x = np.random.default_rng(seed).normal(size=(count, 6)) * np.array([0.2, 3.0, 1.0, 0.1, 2.0, 0.5])
    unit: NDArray[np.float32] = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return unit


def test_principal_components_by_svd() -> None:
    x = vectors()
    projection = fit_principal(x, dimension=3)
    assert (projection.dimension, projection.unit) == (3, False)
    assert projection.centre == pytest.approx(x.mean(axis=0), abs=1e-6)
    _, _, components = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    for mine, theirs in zip(projection.matrix, components[:3], strict=True):
        assert abs(float(mine @ theirs)) == pytest.approx(1.0, abs=1e-4)
        assert mine[np.abs(mine).argmax()] > 0, "signs are fixed"


def test_all_components_keep_distances() -> None:
    x = vectors(30)
    z = fit_principal(x, dimension=6).project(x)
    assert np.linalg.norm(z[0] - z[1]) == pytest.approx(np.linalg.norm(x[0] - x[1]), abs=1e-5)


def test_domains_are_moved_apart() -> None:
    """What separates the domains is a direction of little variance, which principal components miss."""
    x = vectors(300)
    labels = ["one" if row[3] > 0 else "two" for row in x]
    _, weights = one_hot(labels)
    rng = np.random.default_rng(0)

    def separation(z: NDArray[np.float32]) -> float:
        same = np.array(labels)[:, None] == np.array(labels)
        return float((z @ z.T)[same].mean() - (z @ z.T)[~same].mean())

    fitted = fit_separating(x, weights, dimension=2, rng=rng)
    assert fitted.unit
    z = fitted.project(x)
    assert np.linalg.norm(z, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert separation(z) > separation(fit_principal(x, dimension=2).project(x)) + 0.3


def test_the_same_seed_is_the_same_projection() -> None:
    x = vectors(600)
    _, weights = one_hot(["one" if row[0] > 0 else "two" for row in x])
    one, two = (fit_separating(x, weights, dimension=2, rng=np.random.default_rng(3), steps=10) for _ in range(2))
    assert one.fingerprint == two.fingerprint
    assert fit_principal(x, dimension=2).fingerprint == fit_principal(x, dimension=2).fingerprint


def test_unlabelled_queries_count_for_the_centre_alone() -> None:
    x = vectors(100)
    _, weights = one_hot(["one" if row[0] > 0 else "two" for row in x])
    weights = weights.copy()
    weights[50:] = 0.0
    assert np.isfinite(fit_separating(x, weights, dimension=2, rng=np.random.default_rng(0), steps=5).matrix).all()


def test_what_does_not_fit_is_refused() -> None:
    x = vectors(20)
    for dimension in (0, 7):
        with pytest.raises(InvalidValueError, match="dimension must be between 1 and 6"):
            fit_principal(x, dimension=dimension)
        with pytest.raises(InvalidValueError, match="dimension must be between 1 and 6"):
            fit_separating(x, np.ones((20, 1)), dimension=dimension, rng=np.random.default_rng(0))
    for weights in (np.zeros((20, 2)), np.ones((3, 2))):
        with pytest.raises(InvalidValueError, match="weights must be tags of the 20 queries"):
            fit_separating(x, weights, dimension=2, rng=np.random.default_rng(0))
