"""How far exploration may go: a cap in cost and a floor in quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.decision.forecasts import Forecasts
from mixllm.types import Forecast
from mixllm.units import fraction, non_negative

__all__ = ["ExplorationBounds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorationBounds:
    """Which candidates may be tried in place of the best-scored one.

    Parameters
    ----------
    max_cost_ratio
        A candidate dearer than this many times the best-scored one is not explored; None: no cap.
    min_quality
        A candidate whose optimistic quality (mean + std) is below this is not explored; None: no floor.
    """

    max_cost_ratio: float | None = None
    min_quality: float | None = None

    def __post_init__(self) -> None:
        if self.max_cost_ratio is not None:
            non_negative("max_cost_ratio", self.max_cost_ratio)
        if self.min_quality is not None:
            fraction("min_quality", self.min_quality)

    @property
    def none(self) -> bool:
        """Whether there are no bounds: every candidate may be explored."""
        return self.max_cost_ratio is None and self.min_quality is None

    def allowed(self, *, scores: NDArray[np.float64], forecasts: Sequence[Forecast]) -> NDArray[np.bool_]:
        """Return which candidates may be chosen, shape (K,); the best-scored one always may."""
        allowed = np.ones(len(scores), np.bool_)
        if self.none:
            return allowed
        best = int(np.argmax(scores))
        columns = Forecasts.of(forecasts)
        if self.max_cost_ratio is not None:
            allowed &= columns.cost_usd <= self.max_cost_ratio * columns.cost_usd[best]
        if self.min_quality is not None:
            allowed &= columns.quality + columns.quality_std >= self.min_quality
        allowed[best] = True
        return allowed
