"""Frozen neighbours equal scikit-learn's on unit vectors."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor
from tests.predictors.frozen_models import DIMENSION, draw, neighbours

from mixllm.errors import InvalidValueError, StateError
from mixllm.predictors import FrozenNeighbours, Weighting, unit_rows


@pytest.mark.parametrize("weighting", ["uniform", "distance"])
@pytest.mark.parametrize("k", [1, 7, 64, 300])
def test_equals_scikit_learn(weighting: Weighting, k: int, rng: np.random.Generator) -> None:
    z, y, fresh = draw(rng, 300, 20), rng.random(300), draw(rng, 400, 20)
    theirs = KNeighborsRegressor(n_neighbors=k, weights=weighting).fit(unit_rows(z).astype(np.float64), y)
    ours = FrozenNeighbours(vectors=unit_rows(z), targets=y.astype(np.float32), neighbours=k, weighting=weighting)
    assert np.allclose(ours.predict(fresh), theirs.predict(unit_rows(fresh).astype(np.float64)), rtol=1e-4, atol=1e-5)
    # At the vectors themselves the distance is 0: scikit-learn then gives that neighbour's target alone.
    assert np.allclose(ours.predict(z), theirs.predict(unit_rows(z).astype(np.float64)), rtol=1e-4, atol=1e-4)


def test_only_the_direction_counts(rng: np.random.Generator) -> None:
    model, z = neighbours(rng), draw(rng, 20, DIMENSION)
    assert model.predict(z) == pytest.approx(model.predict(100 * z), abs=1e-6)
    assert np.isfinite(model.predict(np.zeros((1, DIMENSION)))).all()


def test_equal_vectors_share_their_weight() -> None:
    vectors = unit_rows(np.array([[1, 0], [1, 0], [0, 1]], np.float32))
    model = FrozenNeighbours(
        vectors=vectors, targets=np.array([0, 1, 9], np.float32), neighbours=3, weighting="distance"
    )
    assert model.predict(np.array([[5.0, 0.0]])) == pytest.approx([0.5], abs=1e-4)


def test_bad_values_are_refused(rng: np.random.Generator) -> None:
    vectors, targets = unit_rows(draw(rng, 5, 3)), np.zeros(5, np.float32)
    for k in (0, -1, 6):
        with pytest.raises(InvalidValueError, match="neighbours must be between 1 and 5"):
            FrozenNeighbours(vectors=vectors, targets=targets, neighbours=k, weighting="uniform")
    with pytest.raises(InvalidValueError, match="vectors must be of length 1"):
        FrozenNeighbours(vectors=2 * vectors, targets=targets, neighbours=1, weighting="uniform")
    with pytest.raises(InvalidValueError, match="targets must be an array of shape"):
        FrozenNeighbours(vectors=vectors, targets=targets[:4], neighbours=1, weighting="uniform")
    with pytest.raises(InvalidValueError, match="weighting must be 'uniform' or 'distance'"):
        FrozenNeighbours(vectors=vectors, targets=targets, neighbours=1, weighting="cosine")  # type: ignore[arg-type]
    arrays = {"vectors": vectors, "targets": targets}
    for settings in ([0, 0], [6, 0], [1, 2], [-1, 0], [1], [1, 0, 0], [1.0, 0.0]):
        with pytest.raises(StateError, match="damaged"):
            FrozenNeighbours.from_arrays({**arrays, "settings": np.array(settings)})
