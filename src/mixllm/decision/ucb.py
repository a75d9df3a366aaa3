"""The paper's policy: the best score plus a bonus for uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.decision.bounds import ExplorationBounds
from mixllm.decision.forecasts import Forecasts
from mixllm.decision.greedy import certain
from mixllm.types import Forecast
from mixllm.units import non_negative

__all__ = ["UCBPolicy"]


class UCBPolicy:
    """Choose the best upper confidence bound s + α·u.

    Parameters
    ----------
    exploration
        α >= 0. The paper has 0.01.
    bounds
        Which candidates may be explored.

    Notes
    -----
    u is the standard deviation of the forecast quality (the paper writes the variance); α = 0 is greedy. The choice is
    deterministic, so its propensity is 1 and logs of it support no off-policy estimate.
    """

    name = "ucb"

    def __init__(self, *, exploration: float = 0.01, bounds: ExplorationBounds | None = None) -> None:
        self.exploration = non_negative("exploration", exploration)
        self.bounds = bounds or ExplorationBounds()

    def propensities(
        self, *, scores: NDArray[np.float64], stds: NDArray[np.float64], forecasts: Sequence[Forecast]
    ) -> NDArray[np.float64]:
        """Return 1 for the best bound among those that may be explored, 0 for the others, shape (K,)."""
        del stds
        forecasts = Forecasts.of(forecasts)
        optimistic = scores + self.exploration * forecasts.quality_std
        if not self.bounds.none:
            optimistic[~self.bounds.allowed(scores=scores, forecasts=forecasts)] = -np.inf
        return certain(int(optimistic.argmax()), len(scores))
