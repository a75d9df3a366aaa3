"""Inverse gap weighting: every candidate keeps a probability that falls with its distance to the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.decision.bounds import ExplorationBounds
from mixllm.types import Forecast
from mixllm.units import positive

__all__ = ["SquareCBPolicy"]


class SquareCBPolicy:
    """p_l = 1/(K + γ · (s* − s_l)) for all but the best, which takes the rest (Foster & Rakhlin 2020).

    Parameters
    ----------
    gap_weight
        γ > 0; the larger, the less exploration.
    bounds
        Which candidates may be explored; the others have probability 0.

    Examples
    --------
    >>> from mixllm.types import Estimate
    >>> some = Estimate(mean=1.0, std=0.1)
    >>> forecast = Forecast(quality=some, tokens_out=some, cost_usd=some, ttft_s=some, wait_s=0.0, latency_s=some)
    >>> SquareCBPolicy(gap_weight=20).propensities(
    ...     scores=np.array([0.5, 0.1]), stds=np.zeros(2), forecasts=[forecast, forecast])
    array([0.9, 0.1])
    """

    name = "squarecb"

    def __init__(self, *, gap_weight: float = 100.0, bounds: ExplorationBounds | None = None) -> None:
        self.gap_weight = positive("gap_weight", gap_weight)
        self.bounds = bounds or ExplorationBounds()

    def propensities(
        self, *, scores: NDArray[np.float64], stds: NDArray[np.float64], forecasts: Sequence[Forecast]
    ) -> NDArray[np.float64]:
        """Return the probability of each candidate, shape (K,)."""
        del stds
        allowed = self.bounds.allowed(scores=scores, forecasts=forecasts)
        best = int(np.argmax(scores))
        with np.errstate(over="ignore"):  # An infinite gap means probability 0.
            propensities = np.where(allowed, 1.0 / (allowed.sum() + self.gap_weight * (scores[best] - scores)), 0.0)
        propensities[best] = 0.0
        propensities[best] = 1.0 - propensities.sum()
        return propensities
