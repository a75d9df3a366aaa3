"""A frozen random forest: every tree's nodes in flat arrays, all trees descended together, level by level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import FloatArray
from mixllm.predictors.frozen import (
    FrozenRegressor,
    checked_features,
    frozen_floats,
    frozen_indices,
    require_arrays,
)

__all__ = ["MAX_DEPTH", "FrozenForest"]

MAX_DEPTH = 32
"""No tree may be deeper: the time of a prediction is bounded by it."""

_MAX_FEATURES = 1_000_000
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenForest(FrozenRegressor):
    """Mean of T regression trees.

    Parameters
    ----------
    features_count
        Length D of the features.
    roots
        First node of each tree, rising, the first of them 0; shape (T,).
    feature
        Feature that a node looks at, shape (N,); 0 at leaves.
    threshold
        At most which value of it leads to the first child, shape (N,); 0 at leaves.
    children
        The two children, shape (N, 2), both of a higher index and in the same tree; a leaf has itself twice.
    value
        Prediction of a leaf, shape (N,).

    Notes
    -----
    Children come after their parents, so that no path runs in circles, and each node but the root has one parent.
    Leaves lead to themselves: all trees take as many steps as the deepest needs, and no step needs a condition.

    Examples
    --------
    >>> stump = FrozenForest(features_count=1, roots=np.array([0]), feature=np.zeros(3, int),
    ...                      threshold=np.array([0.5, 0, 0]), children=np.array([[1, 2], [1, 1], [2, 2]]),
    ...                      value=np.array([0, 0.25, 0.75]))
    >>> stump.predict(np.array([[0.5], [0.6]]))
    array([0.25, 0.75], dtype=float32)
    """

    kind: ClassVar[str] = "forest"

    features_count: int
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    children: NDArray[np.int32]
    value: NDArray[np.float32]
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        if not 0 < self.features_count <= _MAX_FEATURES:
            raise InvalidValueError("features_count", self.features_count, f"between 1 and {_MAX_FEATURES}")
        threshold = frozen_floats("threshold", self.threshold, axes=1)
        nodes = len(threshold)
        arrays: dict[str, NDArray[Any]] = {
            "threshold": threshold,
            "value": frozen_floats("value", self.value, axes=1),
            "feature": frozen_indices("feature", self.feature, axes=1, end=self.features_count),
            "children": frozen_indices("children", self.children, axes=2, end=nodes),
            "roots": frozen_indices("roots", self.roots, axes=1, end=nodes),
        }
        for name, shape in {"value": (nodes,), "feature": (nodes,), "children": (nodes, 2)}.items():
            if arrays[name].shape != shape:
                raise InvalidValueError(name, arrays[name].shape, f"an array of shape {shape}")
        _check_trees(arrays["roots"], arrays["children"])
        for name, array in arrays.items():
            object.__setattr__(self, name, array)
        object.__setattr__(self, "depth", _depth(arrays["roots"], arrays["children"]))

    @property
    def dimension(self) -> int:
        """Length D of the features."""
        return self.features_count

    def predict(self, features: FloatArray) -> NDArray[np.float32]:
        """Return the predicted targets, shape (n,), at `features`, shape (n, D)."""
        rows = checked_features(features, self.dimension)
        predicted = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            predicted[start : start + _ROWS_AT_ONCE] = self.value.take(self._leaves(part)).mean(
                axis=1, dtype=np.float64
            )
        return predicted

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``roots``, ``feature``, ``threshold``, ``children``, ``value`` and ``features_count``, shape (1,)."""
        return {
            "features_count": np.array([self.features_count], np.int32),
            "roots": self.roots,
            "feature": self.feature,
            "threshold": self.threshold,
            "children": self.children,
            "value": self.value,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `arrays` gave; raises `StateError` where it is damaged."""
        names = ("features_count", "roots", "feature", "threshold", "children", "value")
        require_arrays(arrays, names, kind=cls.kind)
        try:
            count = frozen_indices("features_count", arrays["features_count"], axes=1, end=_MAX_FEATURES + 1, length=1)
            return cls(features_count=int(count[0]), **{name: arrays[name] for name in names[1:]})
        except InvalidValueError as error:
            raise StateError(f"A frozen forest is damaged: {error} Fit it again.") from error

    @property
    def stack_key(self) -> int:
        """The dimension."""
        return self.dimension

    @classmethod
    def stack(cls, models: Sequence[Self]) -> _ForestStack:
        """Return the trees of all `models` in one table."""
        return _ForestStack(models)

    def _leaves(self, rows: NDArray[np.float32]) -> NDArray[np.intp]:
        flat = rows.ravel()
        offsets = (np.arange(len(rows)) * self.dimension)[:, None]
        children = self.children.ravel()
        nodes = np.broadcast_to(self.roots.astype(np.intp), (len(rows), len(self.roots)))
        for _ in range(self.depth):
            right = flat.take(self.feature.take(nodes) + offsets) > self.threshold.take(nodes)
            nodes = children.take(2 * nodes + right).astype(np.intp)
        return nodes


class _ForestStack:
    """Forests of several LLMs as one table, for one row of features at a time.

    Two entries per node, one for each way on; entry 2i + 1 is only used to go right. Entries are then indexed by what
    the last step gave, without a multiplication.
    """

    __slots__ = ("_children", "_depth", "_feature", "_roots", "_sizes", "_starts", "_threshold", "_value")

    def __init__(self, models: Sequence[FrozenForest]) -> None:
        offsets = np.cumsum([0, *(len(model.value) for model in models)])[:-1]
        self._roots = 2 * np.concatenate([model.roots + at for model, at in zip(models, offsets, strict=True)])
        children = np.concatenate([model.children + at for model, at in zip(models, offsets, strict=True)])
        self._children = (2 * children).ravel().astype(np.intp)
        self._feature = np.repeat(np.concatenate([model.feature for model in models]), 2).astype(np.intp)
        self._threshold = np.repeat(np.concatenate([model.threshold for model in models]), 2)
        self._value = np.repeat(np.concatenate([model.value for model in models]), 2)
        trees = np.array([len(model.roots) for model in models])
        self._starts = np.cumsum([0, *trees])[:-1]
        self._sizes = trees.astype(np.float32)
        self._depth = max(model.depth for model in models)

    def predict_row(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        nodes = self._roots
        for _ in range(self._depth):
            nodes = self._children.take(nodes + (row.take(self._feature.take(nodes)) > self._threshold.take(nodes)))
        sums: NDArray[np.float32] = np.add.reduceat(self._value.take(nodes), self._starts)
        return sums / self._sizes


def _check_trees(roots: NDArray[np.int32], children: NDArray[np.int32]) -> None:
    nodes = np.arange(len(children))
    if roots[0] != 0 or (np.diff(roots) < 1).any():
        raise InvalidValueError("roots", roots.tolist(), "rising indices, the first of them 0")
    leaf = (children == nodes[:, None]).all(axis=1)
    if (children[~leaf] <= nodes[~leaf, None]).any():
        raise InvalidValueError("children", "a way back", "of higher indices than their parents, or the leaf itself")
    last = np.append(roots[1:], len(children))[np.searchsorted(roots, nodes, side="right") - 1]
    if (children >= last[:, None]).any():
        raise InvalidValueError("children", "a way into another tree", "within their own tree")
    parents = np.bincount(children[~leaf].ravel(), minlength=len(children))
    expected = np.ones(len(children), int)
    expected[roots] = 0
    if (parents != expected).any():
        raise InvalidValueError("children", "nodes with no or two parents", "a tree: one parent for each but the root")


def _depth(roots: NDArray[np.int32], children: NDArray[np.int32]) -> int:
    level = roots
    for depth in range(MAX_DEPTH + 1):
        inner = level[children[level, 0] != level]
        if not len(inner):
            return depth
        level = children[inner].ravel()
    raise InvalidValueError("children", f"a tree deeper than {MAX_DEPTH}", f"at most {MAX_DEPTH} levels deep")
