"""What routing saved against always the reference LLM."""

from __future__ import annotations

from mixllm.dashboard.figures import Savings
from mixllm.dashboard.means import StreamMean
from mixllm.decision.maker import FORCED
from mixllm.types import Decision

__all__ = ["SavingsTally"]


class SavingsTally:
    """Sums what the chosen LLMs have cost and what the reference would have.

    Parameters
    ----------
    reference
        Name of the reference LLM.

    Notes
    -----
    Nobody knows what the reference would have cost where it was not called: what it was forecast to cost stands for it,
    as every decision keeps it. Where the reference was chosen both sides are what was measured, so that an error of its
    forecast cannot look like savings there. `Savings.reference_cost_ratio` tells how its forecasts did on those.
    """

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self._left_out = 0
        self._cost_usd = self._reference_cost_usd = 0.0
        self._quality, self._reference_quality = StreamMean(), StreamMean()
        self._own_cost_usd = self._own_forecast_usd = 0.0
        self._own_calls = 0

    def add(self, decision: Decision, cost_usd: float | None) -> tuple[float, float] | None:
        """Count a decision; return what it has cost and what the reference would have, where they can be compared."""
        forecasts = {one.llm: one.forecast for one in decision.candidates}
        reference, chosen = forecasts.get(self.reference), forecasts.get(decision.llm)
        if cost_usd is None or reference is None or chosen is None or decision.policy == FORCED:
            self._left_out += 1
            return None
        would_be_usd = reference.cost_usd.mean
        if decision.llm == self.reference:
            self._own_calls += 1
            self._own_cost_usd += cost_usd
            self._own_forecast_usd += would_be_usd
            would_be_usd = cost_usd
        self._cost_usd += cost_usd
        self._reference_cost_usd += would_be_usd
        self._quality.add(chosen.quality.mean)
        self._reference_quality.add(reference.quality.mean)
        return cost_usd, would_be_usd

    def figures(self, *, judging_usd: float) -> Savings | None:
        """Return the comparison; None where there is nothing to compare."""
        compared = self._quality.count
        if not compared:
            return None
        saved_usd = self._reference_cost_usd - self._cost_usd
        return Savings(
            reference=self.reference,
            decisions=compared,
            left_out=self._left_out,
            cost_usd=self._cost_usd,
            reference_cost_usd=self._reference_cost_usd,
            saved_usd=saved_usd,
            saved_share=saved_usd / self._reference_cost_usd if self._reference_cost_usd > 0 else None,
            saved_net_usd=saved_usd - judging_usd,
            quality_forecast=self._quality.mean,
            reference_quality_forecast=self._reference_quality.mean,
            reference_cost_ratio=self._own_cost_usd / self._own_forecast_usd if self._own_forecast_usd > 0 else None,
            reference_calls=self._own_calls,
        )
