"""Frozen forests take scikit-learn's branches, and only trees are let in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from tests.predictors.frozen_models import DIMENSION, draw, forest

from mixllm.errors import InvalidValueError, StateError
from mixllm.learning.offline import freeze_forest
from mixllm.predictors import FrozenForest
from mixllm.predictors.forest import MAX_DEPTH


@pytest.mark.parametrize("family", [RandomForestRegressor, ExtraTreesRegressor])
@pytest.mark.parametrize(("depth", "leaf"), [(1, 1), (8, 1), (6, 10), (None, 5)])
def test_equals_scikit_learn(family: Any, depth: int | None, leaf: int, rng: np.random.Generator) -> None:
    z = draw(rng, 400, DIMENSION)
    y = np.where(z[:, 1] > 0.2, 1.0, 0.0) + rng.normal(0, 0.3, 400)
    fitted = family(n_estimators=12, max_depth=depth, min_samples_leaf=leaf, random_state=1).fit(z, y)
    fresh = np.concatenate([draw(rng, 2_500, DIMENSION), z])
    assert np.allclose(freeze_forest(fitted).predict(fresh), fitted.predict(fresh), rtol=1e-6, atol=1e-6)


def test_features_on_the_threshold_take_the_same_branch(rng: np.random.Generator) -> None:
    """Few distinct values: midpoints of neighbouring float32 numbers are no float32 numbers."""
    base = np.float32(0.1)
    steps = [base]
    for _ in range(6):
        steps.append(np.nextafter(steps[-1], np.float32(1)))
    z = rng.choice(np.array(steps, np.float32), (300, 3))
    y = (z[:, 0] > steps[2]) * 1.0 + (z[:, 1] > steps[4]) * 0.5
    fitted = RandomForestRegressor(n_estimators=5, random_state=0).fit(z, y)
    assert np.allclose(freeze_forest(fitted).predict(z), fitted.predict(z), rtol=0, atol=1e-6)


def test_a_constant_target_gives_a_single_leaf() -> None:
    z = np.ones((30, 2), np.float32)
    fitted = RandomForestRegressor(n_estimators=2, random_state=0).fit(z, np.full(30, 0.25))
    frozen = freeze_forest(fitted)
    assert frozen.depth == 0
    assert frozen.predict(z).tolist() == [0.25] * 30


def one_by_one(model: FrozenForest, row: NDArray[np.float32]) -> float:
    leaves = []
    for root in model.roots:
        node = int(root)
        while model.children[node, 0] != node:
            node = int(model.children[node, int(row[model.feature[node]] > model.threshold[node])])
        leaves.append(float(model.value[node]))
    return float(np.mean(leaves))


@given(seed=st.integers(0, 2**32 - 1), trees=st.integers(1, 6), depth=st.integers(0, 6))
def test_equals_walking_down_every_tree(seed: int, trees: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    model = forest(rng, trees=trees, depth=depth)
    z = draw(rng, 5, DIMENSION)
    assert model.depth <= depth
    assert model.predict(z) == pytest.approx([one_by_one(model, row) for row in z], abs=1e-6)


def stump(**changes: Any) -> dict[str, NDArray[Any]]:
    """Two trees: a root with two leaves, and a single leaf."""
    arrays: dict[str, NDArray[Any]] = {
        "features_count": np.array([2]),
        "roots": np.array([0, 3]),
        "feature": np.array([1, 0, 0, 0]),
        "threshold": np.array([0.5, 0.0, 0.0, 0.0]),
        "children": np.array([[1, 2], [1, 1], [2, 2], [3, 3]]),
        "value": np.array([0.0, 0.2, 0.4, 0.6]),
    }
    return {**arrays, **{name: np.array(values) for name, values in changes.items()}}


def test_the_stump_itself_is_sound() -> None:
    assert FrozenForest.from_arrays(stump()).predict(np.array([[0.0, 0.5], [0.0, 0.6]])) == pytest.approx([0.4, 0.5])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"children": [[1, 2], [0, 0], [2, 2], [3, 3]]}, "a way back"),
        ({"children": [[0, 1], [1, 1], [2, 2], [3, 3]]}, "a way back"),
        ({"children": [[1, 2], [1, 2], [2, 2], [3, 3]]}, "a way back"),
        ({"children": [[1, 3], [1, 1], [2, 2], [3, 3]]}, "another tree"),
        ({"children": [[1, 1], [1, 1], [2, 2], [3, 3]]}, "no or two parents"),
        ({"children": [[0, 0], [1, 1], [2, 2], [3, 3]]}, "no or two parents"),
        ({"children": [[1, 4], [1, 1], [2, 2], [3, 3]]}, "integers from 0 to 3"),
        ({"children": [[1, -2], [1, 1], [2, 2], [3, 3]]}, "integers from 0 to 3"),
        ({"children": [[1.0, 2.0], [1, 1], [2, 2], [3, 3]]}, "an array of integers"),
        ({"children": [[1, 2, 2], [1, 1, 1], [2, 2, 2], [3, 3, 3]]}, "children must be an array of shape"),
        ({"roots": [0]}, "no or two parents"),
        ({"roots": [1, 3]}, "rising indices, the first of them 0"),
        ({"roots": [0, 0]}, "rising indices"),
        ({"roots": [0, 4]}, "integers from 0 to 3"),
        ({"feature": [2, 0, 0, 0]}, "integers from 0 to 1"),
        ({"feature": [-1, 0, 0, 0]}, "integers from 0 to 1"),
        ({"feature": [1, 0, 0]}, "feature must be an array of shape"),
        ({"value": [0.0, 0.2, 0.4]}, "value must be an array of shape"),
        ({"features_count": [0]}, "features_count must be between"),
        ({"features_count": [2, 2]}, "features_count must be an array of 1 rows"),
    ],
)
def test_what_is_no_forest_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StateError, match=words):
        FrozenForest.from_arrays(stump(**changes))


@pytest.mark.parametrize(("depth", "sound"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_depth_is_bounded(depth: int, sound: bool) -> None:
    nodes = 2 * depth + 1
    children = np.repeat(np.arange(nodes), 2).reshape(-1, 2)
    for level in range(depth):
        children[2 * level] = [2 * level + 1, 2 * level + 2]
    zeros = np.zeros(nodes)
    arrays = {"feature": zeros.astype(int), "threshold": zeros, "children": children, "value": np.arange(nodes) / 100}
    if not sound:
        with pytest.raises(InvalidValueError, match="at most 32 levels deep"):
            FrozenForest(features_count=1, roots=np.array([0]), **arrays)
        return
    model = FrozenForest(features_count=1, roots=np.array([0]), **arrays)
    assert model.depth == depth
    assert model.predict(np.array([[1.0], [-1.0]])) == pytest.approx([(nodes - 1) / 100, 0.01])
