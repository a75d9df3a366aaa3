"""The best score, always."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.types import Forecast

__all__ = ["GreedyPolicy", "certain"]


def certain(index: int, count: int) -> NDArray[np.float64]:
    """Return propensities that choose `index` for sure, shape (count,)."""
    propensities = np.zeros(count)
    propensities[index] = 1.0
    return propensities


class GreedyPolicy:
    """Choose the best score; explore never."""

    name = "greedy"

    def propensities(
        self, *, scores: NDArray[np.float64], stds: NDArray[np.float64], forecasts: Sequence[Forecast]
    ) -> NDArray[np.float64]:
        """Return 1 for the best score (the first where several tie), 0 for the others, shape (K,)."""
        del stds, forecasts
        return certain(int(np.argmax(scores)), len(scores))
