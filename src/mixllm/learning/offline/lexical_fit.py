"""What each token says about the tags: ridge regression on TF-IDF vectors, by conjugate gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, MissingExtraError
from mixllm.units import positive

__all__ = ["LexicalFit", "fit_lexical"]

_ITERATIONS = 20
"""Conjugate gradients are near their limit by then; stopping there shrinks a little more."""

_MIN_QUERIES = 2
"""Tokens of fewer queries say nothing that would carry over."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LexicalFit:
    """The lexical block of an encoder.

    Parameters
    ----------
    table, rarity
        As `mixllm.encoders.LexicalEncoder` takes them, shapes (V, T) and (V,).
    out_of_fold
        The block of each training query as a fit without its fold gives it, shape (n, T): what a new query's looks
        like. Training on the block of the fit itself would trust it too much.
    """

    table: NDArray[np.float32]
    rarity: NDArray[np.float32]
    out_of_fold: NDArray[np.float32]


def fit_lexical(
    token_ids: Sequence[Sequence[int]],
    weights: NDArray[np.floating],
    *,
    tokens: int,
    rng: np.random.Generator,
    penalty: float = 1.0,
    folds: int = 3,
) -> LexicalFit:
    """Fit a line per token.

    Parameters
    ----------
    token_ids
        Tokens of n queries.
    weights
        How much of each of T tags a query has, shape (n, T); a row of zeros is not learned from.
    tokens
        V, the number of tokens that there are.
    rng
        Draws the folds.
    penalty
        Ridge penalty, > 0, beside TF-IDF vectors of unit length.
    folds
        For `LexicalFit.out_of_fold`, >= 2.

    Raises
    ------
    MissingExtraError
        Where scipy is not installed.
    InvalidValueError
        Where no query is labelled, lengths differ, or a number is out of range.

    Examples
    --------
    >>> texts = [[1, 2], [1, 3], [1, 2], [1, 3]]  # token 2 stands for the first tag, token 3 for the second
    >>> fit = fit_lexical(texts, np.eye(2)[[0, 1, 0, 1]], tokens=5, rng=np.random.default_rng(0))
    >>> fit.table[2].argmax(), fit.table[3].argmax(), fit.rarity[[0, 4]].tolist()
    (np.int64(0), np.int64(1), [0.0, 0.0])
    """
    positive("penalty", penalty)
    if folds < 2:
        raise InvalidValueError("folds", folds, ">= 2")
    if len(token_ids) != len(weights) or not np.asarray(weights).any():
        raise InvalidValueError(
            "weights", np.shape(weights), f"tags of the {len(token_ids)} queries, one or more known"
        )
    counts = _incidence(token_ids, tokens)
    labelled = np.flatnonzero(np.asarray(weights).sum(axis=1) > 0)
    rarity = _rarity(counts[labelled])
    vectors = _unit_rows(counts, rarity)
    targets = np.asarray(weights, np.float32)
    table = _ridge(vectors[labelled], targets[labelled], penalty)
    block = vectors @ table
    for part in np.array_split(rng.permutation(labelled), folds):
        rest = np.setdiff1d(labelled, part)
        if len(rest) and len(part):
            block[part] = vectors[part] @ _ridge(vectors[rest], targets[rest], penalty)
    return LexicalFit(table=table, rarity=rarity, out_of_fold=block)


def _incidence(token_ids: Sequence[Sequence[int]], tokens: int) -> Any:
    try:
        from scipy import sparse
    except ImportError as error:
        raise MissingExtraError("Training from logs", "fit") from error
    sets = [np.unique(np.asarray(ids, np.int32)) for ids in token_ids]
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids in sets])])
    columns = np.concatenate([*sets, np.empty(0, np.int32)])
    return sparse.csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape=(len(sets), tokens))


def _rarity(counts: Any) -> NDArray[np.float32]:
    queries, seen = counts.shape[0], np.asarray(counts.sum(axis=0)).ravel()
    rarity = np.log((queries + 1.0) / (seen + 1.0)) + 1.0
    rarity[seen < _MIN_QUERIES] = 0.0
    rounded: NDArray[np.float32] = rarity.astype(np.float32)
    return rounded


def _unit_rows(counts: Any, rarity: NDArray[np.float32]) -> Any:
    from scipy import sparse

    weighted = counts @ sparse.diags(rarity)
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return (sparse.diags(scale.astype(np.float32)) @ weighted).tocsr()


def _ridge(vectors: Any, targets: NDArray[np.float32], penalty: float) -> NDArray[np.float32]:
    """Solve (AᵀA + penalty) W = Aᵀ(Y − mean) for all tags at once."""
    transposed = vectors.T.tocsr()
    residual = transposed @ (targets - targets.mean(axis=0))
    solution = np.zeros_like(residual)
    direction = residual.copy()
    square = (residual * residual).sum(axis=0)
    for _ in range(_ITERATIONS):
        image = transposed @ (vectors @ direction) + np.float32(penalty) * direction
        step = square / np.maximum((direction * image).sum(axis=0), 1e-20)
        solution += step * direction
        residual -= step * image
        fresh = (residual * residual).sum(axis=0)
        direction = residual + fresh / np.maximum(square, 1e-20) * direction
        square = fresh
    table: NDArray[np.float32] = solution.astype(np.float32)
    return table
