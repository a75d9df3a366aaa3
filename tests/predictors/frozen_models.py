"""Frozen regressors of every kind, made without scikit-learn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mixllm.predictors import (
    FrozenForest,
    FrozenLinear,
    FrozenMLP,
    FrozenNeighbours,
    FrozenRegressor,
    Weighting,
    unit_rows,
)

DIMENSION = 7


def draw(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.uniform(-1, 1, shape).astype(np.float32)


def linear(rng: np.random.Generator) -> FrozenLinear:
    return FrozenLinear(weights=draw(rng, DIMENSION))


def mlp(rng: np.random.Generator, *hidden: int) -> FrozenMLP:
    sizes = [DIMENSION, *hidden, 1]
    return FrozenMLP(
        weights=tuple(draw(rng, before, after) for before, after in pairwise(sizes)),
        biases=tuple(draw(rng, after) for after in sizes[1:]),
    )


def forest(rng: np.random.Generator, *, trees: int = 3, depth: int = 4) -> FrozenForest:
    """Random trees: each node splits with probability 0.8 until `depth`."""
    children: list[list[int]] = []

    def grow(level: int) -> int:
        node = len(children)
        children.append([node, node])
        if level < depth and rng.random() < 0.8:
            children[node] = [grow(level + 1), grow(level + 1)]
        return node

    roots = [grow(0) for _ in range(trees)]
    count = len(children)
    inner = np.array([pair[0] != node for node, pair in enumerate(children)])
    return FrozenForest(
        features_count=DIMENSION,
        roots=np.array(roots, np.int32),
        feature=np.where(inner, rng.integers(0, DIMENSION, count), 0).astype(np.int32),
        threshold=np.where(inner, draw(rng, count), 0).astype(np.float32),
        children=np.array(children, np.int32),
        value=draw(rng, count),
    )


def neighbours(
    rng: np.random.Generator,
    *,
    vectors: NDArray[np.float32] | None = None,
    k: int = 5,
    weighting: Weighting = "uniform",
) -> FrozenNeighbours:
    index = unit_rows(draw(rng, 40, DIMENSION)) if vectors is None else vectors
    return FrozenNeighbours(vectors=index, targets=draw(rng, len(index)), neighbours=k, weighting=weighting)


def one_of_each(rng: np.random.Generator) -> list[FrozenRegressor]:
    return [
        linear(rng),
        mlp(rng, 4),
        mlp(rng, 6, 3),
        mlp(rng),
        forest(rng),
        forest(rng, trees=5, depth=2),
        forest(rng, trees=1, depth=0),
        neighbours(rng),
        neighbours(rng, weighting="distance"),
        neighbours(rng, k=40),
    ]
