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
    """Give cold candidates a fixed share between them, expect the best of newcomers, and leave the rest to a policy.

    Parameters
    ----------
    policy
        Decides where no candidate is cold, and over the rest of the traffic otherwise.
    judgements
        A candidate is cold until it has been judged this often, >= 0; 0: none is.
    share
        Share of the traffic that cold candidates get between them, in [0, 1].
    newcomer_judgements
        A candidate that came into a pool that had been judged before is new until it has been judged this often, >= 0;
        0: none is.
    newcomer_optimism
        So many standard deviations are added to the score of a new candidate, >= 0: it is tried where it may well be
        the best.
    max_cost_usd
        A candidate whose calls have cost more than this is neither cold nor new; None: no bound.
    std_ratio
        A candidate whose quality is no less sure than this many times the median of those that were judged often enough
        is neither cold nor new, > 0.
    bounds
        Which candidates may be explored; a cold or new one that may not gets nothing.

    Notes
    -----
    p = (1 − share) · p_policy(s + optimism · u · [new]) + share · uniform(cold). The exploration that a new LLM can
    cost is thereby bounded: by a number of judgements, and by `max_cost_usd` and one call more. It ends early where the
    LLM is about as well known as the others.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        judgements: int = 0,
        share: float = 0.2,
        newcomer_judgements: int = 0,
        newcomer_optimism: float = 1.25,
        max_cost_usd: float | None = None,
        std_ratio: float = 1.5,
        bounds: ExplorationBounds | None = None,
    ) -> None:
        for name, count in (("judgements", judgements), ("newcomer_judgements", newcomer_judgements)):
            if count < 0:
                raise InvalidValueError(name, count, ">= 0")
        self.policy = policy
        self.judgements = judgements
        self.share = fraction("share", share)
        self.newcomer_judgements = newcomer_judgements
        self.newcomer_optimism = non_negative("newcomer_optimism", newcomer_optimism)
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
        judged = forecasts.judgements
        fewest = min(judged.tolist(), default=np.inf)
        cold = new = None
        if fewest < self.judgements:
            cold = self._explored(forecasts, judged < self.judgements, self.judgements, scores)
        if fewest < self.newcomer_judgements and forecasts.newcomer.any():
            few = (forecasts.newcomer > 0) & (judged < self.newcomer_judgements)
            new = self._explored(forecasts, few, self.newcomer_judgements, scores)
        hoped = scores if new is None else scores + self.newcomer_optimism * stds * new
        propensities = self.policy.propensities(scores=hoped, stds=stds, forecasts=forecasts)
        if cold is None:  # Most of the time nobody is cold or new.
            return propensities
        mixed: NDArray[np.float64] = (1.0 - self.share) * propensities + self.share * cold / cold.sum()
        return mixed

    def _explored(
        self, forecasts: Forecasts, few: NDArray[np.bool_], enough: int, scores: NDArray[np.float64]
    ) -> NDArray[np.bool_] | None:
        """Return those of the `few` that may be tried, and are not as well known as the others; None: none of them."""
        if self.max_cost_usd is not None:
            few = few & (forecasts.spent_usd <= self.max_cost_usd)
        often = forecasts.judgements >= enough
        if often.any():
            few = few & (forecasts.quality_std > self.std_ratio * np.median(forecasts.quality_std[often]))
        if not self.bounds.none:
            few = few & self.bounds.allowed(scores=scores, forecasts=forecasts)
        return few if few.any() else None
