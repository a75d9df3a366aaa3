"""How strongly predictors are shrunk, chosen on training data by what the router would have earned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shrinkage", "ShrinkageScore", "same_rows", "tune_shrinkage"]

_TAG_RATIOS = (3.0, 10.0)
_EMBEDDING_RATIOS = (20.0, 40.0, 80.0, 160.0, 320.0, 1280.0)
_USUAL = (3.0, 80.0)
"""What suits most logs; chosen where the log does not clearly say otherwise."""

_POOL_SHARE = 0.25
"""The pool's slopes are held this much less than the LLMs' own: what all share has the more data."""

_TRADE_OFFS = np.logspace(-0.7, 1.3, 25)
"""λ of the whole range in use: from mostly cheap to mostly good."""

_COST_RATIO = 3.0
_SIGNIFICANT = 0.5
"""Standard errors by which a pair has to be better than the usual one to be preferred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkageScore:
    """What one pair of ratios earned: mean score over queries and λ, and its standard error against the best."""

    tag_ratio: float
    embedding_ratio: float
    value: float
    behind_se: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrinkage:
    """Ridge ratios (precision of the prior times variance of the noise) and the variance of the noise.

    Parameters
    ----------
    tag_ratio, embedding_ratio
        Of an LLM's own slopes.
    pool_tag_ratio, pool_embedding_ratio
        Of the slopes that the pool shares.
    noise_variance
        Mean squared residual of held-out judgements.
    scores
        What every pair on the grid earned.
    """

    tag_ratio: float
    embedding_ratio: float
    pool_tag_ratio: float
    pool_embedding_ratio: float
    noise_variance: float
    scores: tuple[ShrinkageScore, ...]


def tune_shrinkage(
    features: NDArray[np.float32],
    quality: NDArray[np.float64],
    cost_usd: NDArray[np.float64],
    *,
    tags: int,
    reference_cost_usd: float,
    rng: np.random.Generator,
    folds: int = 4,
) -> Shrinkage:
    """Choose the ratios by cross-validation.

    Parameters
    ----------
    features
        z = [π, Wx, 1] of n queries, shape (n, D).
    quality, cost_usd
        What happened, shape (n, K), NaN where an LLM was not asked.
    tags
        T, the length of π.
    reference_cost_usd
        c_ref.
    rng
        Draws the folds.
    folds
        At least 2.

    Notes
    -----
    For each fold, ridge regressions on the others predict quality and log cost; every query goes to the LLM of the
    best predicted score, and earns the recorded one, averaged over a grid of λ. Of the pairs whose earnings are not
    clearly behind the best ones, the one nearest to the usual pair is chosen: the differences are small and noisy. An
    LLM that was not asked a query cannot be sent it.
    """
    parts = np.array_split(rng.permutation(len(features)), folds)
    grid = [(tag, embedding) for tag in _TAG_RATIOS for embedding in _EMBEDDING_RATIOS]
    earned = np.zeros((len(grid), len(features)))
    squares = np.zeros(len(grid))
    asked = ~np.isnan(quality)
    shares = np.nan_to_num(cost_usd, nan=np.inf) / reference_cost_usd
    for part in parts:
        rest = np.setdiff1d(np.arange(len(features)), part)
        costs = _costs(features, cost_usd, rest, part, tags=tags) / reference_cost_usd
        for place, (tag, embedding) in enumerate(grid):
            expected = _ridge(features, quality, rest, part, tags=tags, tag=tag, embedding=embedding)
            earned[place, part] = _earnings(expected, costs, quality[part], shares[part], asked[part])
            squares[place] += float(np.nansum((quality[part] - expected) ** 2))
    values = earned.mean(axis=1)
    best = int(values.argmax())
    behind = earned[best] - earned
    errors = behind.std(axis=1) / np.sqrt(len(features))
    scores = tuple(
        ShrinkageScore(
            tag_ratio=tag,
            embedding_ratio=embedding,
            value=float(values[place]),
            behind_se=0.0 if place == best else float((values[best] - values[place]) / max(errors[place], 1e-12)),
        )
        for place, (tag, embedding) in enumerate(grid)
    )
    chosen = min((score for score in scores if score.behind_se <= _SIGNIFICANT), key=_distance)
    place = scores.index(chosen)
    return Shrinkage(
        tag_ratio=chosen.tag_ratio,
        embedding_ratio=chosen.embedding_ratio,
        pool_tag_ratio=chosen.tag_ratio * _POOL_SHARE,
        pool_embedding_ratio=chosen.embedding_ratio * _POOL_SHARE,
        noise_variance=max(1e-4, float(squares[place] / asked.sum())),
        scores=scores,
    )


def _distance(score: ShrinkageScore) -> float:
    return abs(math.log(score.embedding_ratio / _USUAL[1])) + abs(math.log(score.tag_ratio / _USUAL[0]))


def _earnings(
    expected: NDArray[np.float64],
    costs: NDArray[np.float64],
    quality: NDArray[np.float64],
    shares: NDArray[np.float64],
    asked: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the mean recorded score of each query over the grid of λ, shape (rows,)."""
    rows = np.arange(len(expected))
    total = np.zeros(len(expected))
    for trade_off in _TRADE_OFFS:
        scores = np.where(asked, trade_off * expected - costs, -np.inf)
        chosen = scores.argmax(axis=1)
        got = trade_off * np.nan_to_num(quality[rows, chosen]) - shares[rows, chosen]
        total += np.where(asked[rows, chosen], got, 0.0) / (1.0 + trade_off)
    return total / len(_TRADE_OFFS)


def _ridge(
    features: NDArray[np.float32],
    targets: NDArray[np.float64],
    rest: NDArray[np.intp],
    part: NDArray[np.intp],
    *,
    tags: int,
    tag: float,
    embedding: float,
) -> NDArray[np.float64]:
    """Return predictions at `part` of ridge regressions on `rest`, shape (len(part), K), the constant not shrunk."""
    z = features[:, :-1].astype(np.float64)
    penalty = np.concatenate([np.full(tags, tag), np.full(z.shape[1] - tags, embedding)])
    predictions = np.empty((len(part), targets.shape[1]))
    for columns, known in same_rows(targets[rest]):
        rows = rest[known]
        if not len(rows):
            predictions[:, columns] = 0.0
            continue
        answers = targets[rows][:, columns]
        centre, means = z[rows].mean(axis=0), answers.mean(axis=0)
        centred = z[rows] - centre
        weights = np.linalg.solve(centred.T @ centred + np.diag(penalty), centred.T @ (answers - means))
        predictions[:, columns] = (z[part] - centre) @ weights + means
    return predictions


def _costs(
    features: NDArray[np.float32],
    cost_usd: NDArray[np.float64],
    rest: NDArray[np.intp],
    part: NDArray[np.intp],
    *,
    tags: int,
) -> NDArray[np.float64]:
    logs = np.log(np.maximum(cost_usd, 1e-9))
    expected = np.exp(_ridge(features, logs, rest, part, tags=tags, tag=_COST_RATIO, embedding=_COST_RATIO))
    # Smearing: what exp loses on average, each LLM gets back.
    fitted = np.exp(_ridge(features, logs, rest, rest, tags=tags, tag=_COST_RATIO, embedding=_COST_RATIO))
    known = ~np.isnan(cost_usd[rest])
    recorded = np.where(known, cost_usd[rest], 0.0).sum(axis=0)
    smeared: NDArray[np.float64] = expected * (recorded / np.maximum(np.where(known, fitted, 0.0).sum(axis=0), 1e-12))
    return smeared


def same_rows(targets: NDArray[np.float64]) -> Sequence[tuple[list[int], NDArray[np.bool_]]]:
    """Group the columns that are known on the same rows: those share one factorisation."""
    groups: dict[bytes, tuple[list[int], NDArray[np.bool_]]] = {}
    for column in range(targets.shape[1]):
        known = ~np.isnan(targets[:, column])
        groups.setdefault(known.tobytes(), ([], known))[0].append(column)
    return list(groups.values())
