"""λ and c_ref, worked out from scores: an export has the scores and the forecasts, not the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.offpolicy.gathering import CandidateRow

__all__ = ["Scale", "scales_of"]

_TOLERANCE = 1e-3
_WELL_SPREAD = 0.05
_QUARTILES = (0.25, 0.5, 0.75)
_Table = NDArray[np.float64]


class Scale(NamedTuple):
    """λ and c_ref of one decision."""

    trade_off: float
    cost_scale_usd: float


def scales_of(decisions: Sequence[Sequence[CandidateRow]]) -> list[Scale | None]:
    """Return λ and c_ref of each decision; None where its scores do not tell them.

    Parameters
    ----------
    decisions
        The candidates of each decision, in the order in which they were made.

    Notes
    -----
    A score is s = w·p̂ − k·ĉ − penalty with w = λ/(1+λ) and k = (1−w)/c_ref. Where waiting hardly counts, two
    candidates determine w and k. w is the median over all decisions, and must be the same for half of them to within
    0.001; k is then fitted decision by decision, and a decision is refused whose scores miss by more than 0.001, as
    with another λ or a large waiting penalty. A decision of one candidate takes c_ref from the last one before.
    """
    tables = [np.array([(one.score, one.quality_mean, one.cost_usd_mean) for one in row]) for row in decisions]
    weights = np.array([w for table in tables if (w := _quality_weight(table)) is not None])
    if not len(weights):
        return [None] * len(tables)
    low, weight, high = np.quantile(weights, _QUARTILES)
    if high - low > _TOLERANCE or not 0 <= weight < 1:
        return [None] * len(tables)
    found: list[Scale | None] = []
    last: float | None = None
    for table in tables:
        scale_usd = last if len(table) == 1 else _cost_scale_usd(table, float(weight))
        found.append(None if scale_usd is None else Scale(float(weight / (1 - weight)), scale_usd))
        last = scale_usd or last
    return found


def _quality_weight(table: _Table) -> float | None:
    """Return w, where the forecasts are different enough to tell it."""
    score, quality, cost = table.T
    if len(table) < 2 or not cost.max() > 0:
        return None
    design = np.column_stack([quality, -cost / cost.max()])
    solution, _, rank, singular = np.linalg.lstsq(design, score, rcond=None)
    if rank < design.shape[1] or singular[-1] < _WELL_SPREAD * singular[0]:
        return None
    return float(solution[0])


def _cost_scale_usd(table: _Table, weight: float) -> float | None:
    score, quality, cost = table.T
    if not cost.max() > 0:
        return None
    owed = weight * quality - score
    per_usd = float(owed @ cost / (cost @ cost))
    if not per_usd > 0 or np.abs(owed - per_usd * cost).max() > _TOLERANCE:
        return None
    return (1.0 - weight) / per_usd
