"""What is done with queries unlike those that were learned from: less belief, wider intervals, a safe choice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixllm.decision.forecasts import Forecasts
from mixllm.units import fraction, non_negative

__all__ = ["OutOfDomainRule", "Outside"]

_NOTHING = 0.01
"""Scores below it change nothing worth the time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outside:
    """How far outside a query lies, and what is known of the LLMs without looking at it.

    Parameters
    ----------
    score
        From 0 (inside) to 1 (nothing like it was seen).
    levels
        Each LLM's quality averaged over the queries learned from, shape (K,).
    spreads
        How much its quality differs from query to query there, shape (K,).
    """

    score: float
    levels: NDArray[np.float64]
    spreads: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfDomainRule:
    """How a decision heeds the score s of a query.

    Parameters
    ----------
    shrinkage
        Share, in [0, 1], by which the quality forecast goes over to the LLM's average at s = 1.
    widening
        How many spreads are added to the std at s = 1, >= 0.
    threshold
        From this score on, in [0, 1], the choice is the safe one: nothing is tried out, and `pessimism` counts.
    pessimism
        How many stds are taken off the quality in the safe choice, >= 0.

    Examples
    --------
    >>> OutOfDomainRule(threshold=0.8).far(0.9)
    True
    """

    shrinkage: float = 0.0
    widening: float = 1.0
    threshold: float = 0.5
    pessimism: float = 0.0

    def __post_init__(self) -> None:
        fraction("shrinkage", self.shrinkage)
        non_negative("widening", self.widening)
        fraction("threshold", self.threshold)
        non_negative("pessimism", self.pessimism)

    def far(self, score: float) -> bool:
        """Whether a query with this score gets the safe choice."""
        return score >= max(self.threshold, _NOTHING)

    def widened(self, forecasts: Forecasts, outside: Outside) -> Forecasts:
        """Return the forecasts as they are believed of such a query.

        Notes
        -----
        With s the score, l the LLM's level and v its spread: p̂' = (1 − shrinkage·s)·p̂ + shrinkage·s·l and
        u' = hypot(u, widening·s·v).
        """
        if outside.score < _NOTHING:
            return forecasts
        share = self.shrinkage * outside.score
        return replace(
            forecasts,
            quality=(1.0 - share) * forecasts.quality + share * outside.levels,
            quality_std=np.hypot(forecasts.quality_std, self.widening * outside.score * outside.spreads),
        )

    def safe(self, forecasts: Forecasts) -> Forecasts:
        """Return lower bounds of the quality with nothing left to try out, for scores and policies alone."""
        return replace(
            forecasts,
            quality=np.maximum(0.0, forecasts.quality - self.pessimism * forecasts.quality_std),
            quality_std=np.zeros(len(forecasts)),
            judgements=np.full(len(forecasts), np.inf),
        )
