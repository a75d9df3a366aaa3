"""A share of the traffic for LLMs of which too little is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.decision.bounds import ExplorationBounds
from mixllm.decision.forecasts import Forecasts
from mixllm.errors import InvalidValueError
from mixllm.interfaces import Policy
from mixllm.types import Forecast
from mixllm.units import fraction, non_negative, positive

__all__ = ["WarmUpPolicy"]


class WarmUpPolicy:
    """Expect the best of cold candidates, give them a fixed share besides, and leave the rest to another policy.

    Parameters
    ----------
    policy
        Decides where no candidate is cold, and over the rest of the traffic otherwise.
    judgements
        A candidate is cold until it has been judged this often, >= 0; 0 switches the warm-up off.
    share
        Share of the traffic that cold candidates get between them, in [0, 1].
    optimism
        So many standard deviations are added to the score of a cold candidate, >= 0: it is tried where it may well be
        the best.
    max_cost_usd
        A candidate whose calls have cost more than this is no longer cold; None: no bound.
    std_ratio
        A candidate whose quality is no less sure than this many times the median of the warm ones is not cold, > 0.
    bounds
        Which candidates may be explored; a cold one that may not gets no share.

    Notes
    -----
    p = (1 − share) · p_policy(s + optimism · u · [cold]) + share · uniform(cold). The exploration that a new LLM can
    cost is thereby bounded: by `judgements` queries of its own, and by `max_cost_usd` and one call more. It ends early
    where the LLM is about as well known as the others.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        judgements: int = 0,
        share: float = 0.2,
        optimism: float = 0.0,
        max_cost_usd: float | None = None,
        std_ratio: float = 1.5,
        bounds: ExplorationBounds | None = None,
    ) -> None:
        if judgements < 0:
            raise InvalidValueError("judgements", judgements, ">= 0")
        self.policy = policy
        self.judgements = judgements
        self.share = fraction("share", share)
        self.optimism = non_negative("optimism", optimism)
        self.max_cost_usd = None if max_cost_usd is None else positive("max_cost_usd", max_cost_usd)
        self.std_ratio = positive("std_ratio", std_ratio)
        self.bounds = bounds or ExplorationBounds()

    @property
    def name(self) -> str:
        """Name of the policy underneath."""
        return self.policy.name

    def propensities(
        self, *, scores: NDArray[np.float64], stds: NDArray[np.float64], forecasts: Sequence[Forecast]
    ) -> NDArray[np.float64]:
        """Return the probability of each candidate, shape (K,)."""
        forecasts = Forecasts.of(forecasts)
        cold = self._cold(forecasts)
        if cold.any():
            cold &= self.bounds.allowed(scores=scores, forecasts=forecasts)
        if not cold.any():
            return self.policy.propensities(scores=scores, stds=stds, forecasts=forecasts)
        hoped = scores + self.optimism * stds * cold if self.optimism else scores
        propensities = self.policy.propensities(scores=hoped, stds=stds, forecasts=forecasts)
        mixed: NDArray[np.float64] = (1.0 - self.share) * propensities + self.share * cold / cold.sum()
        return mixed

    def _cold(self, forecasts: Forecasts) -> NDArray[np.bool_]:
        cold: NDArray[np.bool_] = forecasts.judgements < self.judgements
        if not cold.any():
            return cold
        if self.max_cost_usd is not None:
            cold &= forecasts.spent_usd <= self.max_cost_usd
        warm = forecasts.judgements >= self.judgements
        if warm.any():
            cold &= forecasts.quality_std > self.std_ratio * np.median(forecasts.quality_std[warm])
        return cold
