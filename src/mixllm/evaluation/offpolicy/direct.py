"""What a model expects of every candidate: the logged forecasts themselves, or a ridge fitted to what came of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.evaluation.offpolicy.logged import LoggedDecisions

__all__ = ["Direct", "cross_fitted_ridge"]

Direct = Literal["forecast", "ridge"]
"""The direct model of DR."""

_FOLDS = 5
_PENALTY = 1.0


def cross_fitted_ridge(
    log: LoggedDecisions, rewards: NDArray[np.float64], *, rng: np.random.Generator, folds: int = _FOLDS
) -> NDArray[np.float64]:
    """Return what a ridge regression expects of every LLM at every decision, shape (n, K).

    Parameters
    ----------
    log
        n decisions over K LLMs.
    rewards
        What came of each, NaN where it was not seen, shape (n,).
    rng
        Deals the decisions to the folds.
    folds
        No decision is predicted by a model that has seen its fold, >= 2.

    Notes
    -----
    Features are which LLM it is, its forecast quality and its forecast cost in units of c_ref. It corrects forecasts
    that are wrong by a shift or a slope; the constant is not penalised.
    """
    if folds < 2:
        raise InvalidValueError("folds", folds, ">= 2")
    n, llms = log.propensities.shape
    seen = np.flatnonzero(~np.isnan(rewards))
    fold = rng.permutation(np.arange(n) % folds)
    quality = np.where(log.candidates, log.quality_mean, 0.0)
    cost = np.where(log.candidates, log.cost_usd_mean / log.cost_scale_usd[:, None], 0.0)
    of_chosen = np.column_stack([np.eye(llms)[log.chosen], log.of_chosen(quality), log.of_chosen(cost)])
    expected = np.empty((n, llms))
    for number in range(folds):
        rows = fold == number
        train = seen[~rows[seen]]
        if not len(train):
            expected[rows] = np.nanmean(rewards)
            continue
        mean = rewards[train].mean()
        design = of_chosen[train]
        theta = np.linalg.solve(design.T @ design + _PENALTY * np.eye(llms + 2), design.T @ (rewards[train] - mean))
        expected[rows] = mean + theta[:llms] + theta[llms] * quality[rows] + theta[llms + 1] * cost[rows]
    return expected
