"""The lexical block: against dense normal equations, and out of fold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.learning.offline.lexical_fit import LexicalFit, fit_lexical

TOKENS = 14


def draw(count: int, *, seed: int = 0) -> tuple[list[list[int]], NDArray[np.float64]]:
    """Return token lists with repetitions, and soft tags of which some are unknown."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(0, TOKENS - 1, rng.integers(0, 9)).tolist() for _ in range(count)]
    weights = rng.dirichlet(np.ones(3), size=count)
    weights[rng.uniform(size=count) < 0.2] = 0.0
    return ids, weights


def vectors_of(ids: list[list[int]], rarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return TF-IDF vectors of unit length, term frequencies 0 or 1."""
    dense = np.zeros((len(ids), TOKENS))
    for row, tokens in enumerate(ids):
        dense[row, tokens] = rarity[tokens]
    lengths = np.linalg.norm(dense, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(dense, lengths, out=np.zeros_like(dense), where=lengths > 0)
    return unit


def fit(ids: list[list[int]], weights: NDArray[np.float64], *, penalty: float = 1.0, seed: int = 0) -> LexicalFit:
    return fit_lexical(ids, weights, tokens=TOKENS, rng=np.random.default_rng(seed), penalty=penalty)


@pytest.mark.parametrize("penalty", [0.5, 1.0, 7.0])
def test_equals_the_normal_equations(penalty: float) -> None:
    ids, weights = draw(200)
    found = fit(ids, weights, penalty=penalty)
    labelled = weights.sum(axis=1) > 0
    seen = np.array([sum(token in set(ids[row]) for row in np.flatnonzero(labelled)) for token in range(TOKENS)])
    rarity = np.where(seen >= 2, np.log((labelled.sum() + 1) / (seen + 1)) + 1, 0.0)
    assert found.rarity == pytest.approx(rarity, rel=1e-5)
    a = vectors_of(ids, rarity)[labelled]
    y = weights[labelled]
    dense = np.linalg.solve(a.T @ a + penalty * np.eye(TOKENS), a.T @ (y - y.mean(axis=0)))
    assert found.table == pytest.approx(dense, abs=1e-4)
    assert found.table.shape == (TOKENS, 3)
    assert found.table.dtype == np.float32


def test_the_block_of_a_query_is_that_of_a_fit_without_it() -> None:
    ids, weights = draw(60, seed=2)
    found = fit(ids, weights)
    labelled = np.flatnonzero(weights.sum(axis=1) > 0)
    vectors = vectors_of(ids, found.rarity.astype(np.float64))
    for part in np.array_split(np.random.default_rng(0).permutation(labelled), 3):
        rest = np.setdiff1d(labelled, part)
        a, y = vectors[rest], weights[rest]
        without = np.linalg.solve(a.T @ a + np.eye(TOKENS), a.T @ (y - y.mean(axis=0)))
        assert found.out_of_fold[part] == pytest.approx(vectors[part] @ without, abs=1e-4)
    unlabelled = np.flatnonzero(weights.sum(axis=1) == 0)
    assert found.out_of_fold[unlabelled] == pytest.approx(vectors[unlabelled] @ found.table, abs=1e-5)


def test_a_querys_own_label_does_not_reach_its_block() -> None:
    ids, weights = draw(60, seed=3)
    row = int(np.flatnonzero(weights.sum(axis=1) > 0)[5])
    other = weights.copy()
    other[row] = np.roll(other[row], 1)
    one, two = fit(ids, weights), fit(ids, other)
    assert one.out_of_fold[row] == pytest.approx(two.out_of_fold[row], abs=1e-6)
    assert np.abs(one.table - two.table).max() > 1e-3


def test_words_of_one_query_and_words_never_seen_say_nothing() -> None:
    ids = [[0, 1], [0, 2], [0, 1], [0, 3]]
    found = fit(ids, np.eye(2)[[0, 1, 0, 1]])
    assert found.rarity[[2, 3, 4, 13]].tolist() == [0.0] * 4
    assert not found.table[[2, 3, 4, 13]].any()
    assert found.table[1].argmax() == 0


def test_the_same_seed_is_the_same_fit() -> None:
    ids, weights = draw(50)
    one, two = fit(ids, weights, seed=4), fit(ids, weights, seed=4)
    assert np.array_equal(one.table, two.table)
    assert np.array_equal(one.out_of_fold, two.out_of_fold)


def test_queries_without_a_token_have_no_block() -> None:
    found = fit([[], [0, 1], [0, 1], []], np.eye(2)[[0, 1, 0, 1]])
    assert not found.out_of_fold[[0, 3]].any()
    assert np.isfinite(found.table).all()


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_queries_than_folds(count: int) -> None:
    found = fit([[0, 1]] * count, np.eye(2)[:count])
    assert np.isfinite(found.out_of_fold).all()


def test_what_does_not_fit_is_refused() -> None:
    ids, weights = draw(20)
    for bad in (np.zeros((20, 3)), weights[:5]):
        with pytest.raises(InvalidValueError, match="weights must be tags of the 20 queries"):
            fit(ids, bad)
    with pytest.raises(InvalidValueError, match="penalty"):
        fit(ids, weights, penalty=0.0)
    with pytest.raises(InvalidValueError, match="folds must be >= 2"):
        fit_lexical(ids, weights, tokens=TOKENS, rng=np.random.default_rng(0), folds=1)
