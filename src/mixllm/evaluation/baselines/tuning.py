"""Choosing hyper-parameters on the training part alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.contender import Predictions, TrainingData
from mixllm.evaluation.frontier import sweep

__all__ = ["best_of", "held_out_fifth", "mean_squared_error", "routed_area"]

_P = TypeVar("_P")
_SHARE = 0.2
_FEW_TRADE_OFFS = np.logspace(-3.0, 3.0, 60)


def held_out_fifth(queries: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows to learn from and a fifth of the rows, at least one, to choose by."""
    order = rng.permutation(queries)
    held_out = max(1, round(queries * _SHARE))
    return order[held_out:], order[:held_out]


def best_of(candidates: Sequence[_P], error: Callable[[_P], float]) -> _P:
    """Return the candidate of the least error; of equals the first."""
    if len(candidates) == 1:
        return candidates[0]
    return min(candidates, key=error)


def mean_squared_error(predicted: NDArray[np.floating], found: NDArray[np.floating]) -> float:
    """Return the mean of the squared differences."""
    return float(np.mean(np.square(predicted - found)))


def routed_area(predictions: Predictions, training: TrainingData) -> float:
    """Return the area under the frontier of routing the training part by predictions made without knowing its outcomes.

    Returns
    -------
    float
        As `Frontier.area` over the range of single LLMs' costs; 0 where all cost the same.
    """
    log = training.log
    reference = log.column(training.reference)
    shares = log.mean_cost_usd() / log.mean_cost_usd()[reference]
    cheapest, dearest = float(shares.min()), float(shares.max())
    if not dearest > cheapest:
        return 0.0
    points = sweep(
        predictions,
        quality=log.quality,
        cost_usd=log.cost_usd,
        reference=reference,
        cost_unit=float(log.mean_cost_usd()[reference]),
        trade_offs=_FEW_TRADE_OFFS,
    )
    return points.hull().area(cheapest, dearest)
