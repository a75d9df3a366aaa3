"""The numbers by which routers are compared."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.contender import Predictions
from mixllm.evaluation.frontier import Frontier, choose

__all__ = ["BUDGET", "METRICS", "TARGET", "Metrics", "frontier_metrics", "realised"]

TARGET = 0.9725
"""Share of the reference's quality that the paper reached …"""
BUDGET = 0.2418
"""… and the share of its cost that it took."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What one router got on one split, all as shares of the reference LLM's.

    Parameters
    ----------
    cost_at_97_25, cost_at_100
        Least cost on the frontier at 97.25 % and at 100 % of the quality; None where it is not reached.
    quality_at_24_18
        Best quality on the frontier for 24.18 % of the cost; None where the cheapest point costs more.
    max_quality
        Highest quality on the frontier.
    aiq
        Mean quality over the costs from the cheapest to the dearest single LLM's (see `Frontier.area`).
    realised_quality, realised_cost
        What a user gets who lets the training part choose the trade-off for 97.25 %: nothing of the test part is used.
    """

    cost_at_97_25: float | None
    cost_at_100: float | None
    quality_at_24_18: float | None
    max_quality: float
    aiq: float
    realised_quality: float
    realised_cost: float


METRICS = Metrics.__struct_fields__
"""Names of the metrics."""


def frontier_metrics(
    frontier: Frontier, *, cheapest: float, dearest: float, realised_point: tuple[float, float]
) -> Metrics:
    """Return the metrics of a frontier.

    Parameters
    ----------
    frontier
        On the test part.
    cheapest, dearest
        Least and largest mean cost of a single LLM there, as shares of the reference's.
    realised_point
        Quality and cost of `realised`.
    """
    # A pool whose LLMs all cost the same has no range of costs: its area is the quality that this cost buys.
    flat = frontier.quality_at(cheapest) or 0.0
    return Metrics(
        cost_at_97_25=frontier.cost_at(TARGET),
        cost_at_100=frontier.cost_at(1.0),
        quality_at_24_18=frontier.quality_at(BUDGET),
        max_quality=float(frontier.quality[-1]),
        aiq=frontier.area(cheapest, dearest) if dearest > cheapest else flat,
        realised_quality=realised_point[0],
        realised_cost=realised_point[1],
    )


def realised(
    predictions: Predictions,
    *,
    trade_off: float,
    quality: NDArray[np.float64],
    cost_usd: NDArray[np.float64],
    reference: int,
    cost_unit: float,
) -> tuple[float, float]:
    """Return quality and cost at one trade-off, as shares of the reference LLM's recorded means."""
    chosen = choose(predictions, trade_off=trade_off, cost_unit=cost_unit)
    rows = np.arange(len(chosen))
    return (
        float(quality[rows, chosen].mean() / quality[:, reference].mean()),
        float(cost_usd[rows, chosen].mean() / cost_usd[:, reference].mean()),
    )
