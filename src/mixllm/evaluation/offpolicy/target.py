"""The policy that is asked about: what it would have chosen, from the forecasts as they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixllm.decision import ScoreWeights, score
from mixllm.errors import InvalidValueError, NoSupportError, did_you_mean
from mixllm.evaluation.offpolicy.logged import LoggedDecisions
from mixllm.interfaces import Policy
from mixllm.types import Estimate, Forecast
from mixllm.units import non_negative

__all__ = ["Target", "TargetPolicy"]

_SUM_TOLERANCE = 1e-6
_NOTHING = Estimate(mean=0.0, std=0.0)


class Target(Protocol):
    """A policy that is asked about, with its probabilities for the decisions of a log."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def trade_off(self) -> float | None:
        """Its λ; None where each decision has its own."""

    @property
    def without(self) -> frozenset[str]:
        """LLMs that are taken out of the pool."""

    def trade_offs(self, log: LoggedDecisions) -> NDArray[np.float64]:
        """Return λ of each decision, shape (n,)."""

    def propensities(self, log: LoggedDecisions) -> NDArray[np.float64]:
        """Return the probability with which each LLM would have been chosen, shape (n, K)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPolicy:
    """A policy at a trade-off, over the pool without some LLMs.

    Parameters
    ----------
    policy
        Turns scores into probabilities; one of `mixllm.decision`, or any other `mixllm.interfaces.Policy`.
    trade_off
        λ >= 0; None keeps that of each logged decision.
    without
        LLMs that are taken out of the pool.
    """

    policy: Policy
    trade_off: float | None = None
    without: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.trade_off is not None:
            non_negative("trade_off", self.trade_off)

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self.policy.name

    def trade_offs(self, log: LoggedDecisions) -> NDArray[np.float64]:
        """Return λ of each decision, shape (n,)."""
        return log.trade_off if self.trade_off is None else np.full(len(log), float(self.trade_off))

    def propensities(self, log: LoggedDecisions) -> NDArray[np.float64]:
        """Return the probability with which each LLM would have been chosen, shape (n, K).

        A row of zeros is a decision that none of the LLMs left in the pool could take.

        Raises
        ------
        NoSupportError
            Where an LLM of `without` was never a candidate: the log says nothing about it.

        Notes
        -----
        The score of each candidate is moved from its logged λ to the new one by the difference of
        `mixllm.decision.score` at both; the penalty for waiting stays as it was.
        """
        for llm in sorted(self.without - set(log.llms)):
            raise NoSupportError(
                f"The log has never seen an LLM named {llm!r}.{did_you_mean(llm, log.llms)} It has seen: "
                f"{', '.join(log.llms)}."
            )
        kept = log.candidates & np.array([llm not in self.without for llm in log.llms])
        trade_offs = self.trade_offs(log)
        chosen = np.zeros(kept.shape)
        for row in np.flatnonzero(kept.any(axis=1)):
            chosen[row, kept[row]] = self._of_row(log, int(row), np.flatnonzero(kept[row]), float(trade_offs[row]))
        return chosen

    def _of_row(
        self, log: LoggedDecisions, row: int, columns: NDArray[np.intp], trade_off: float
    ) -> NDArray[np.float64]:
        forecasts = [
            Forecast(
                quality=Estimate(mean=quality, std=std),
                cost_usd=Estimate(mean=cost_usd, std=0.0),
                judgements=judgements,
                tokens_out=_NOTHING,
                ttft_s=_NOTHING,
                wait_s=0.0,
                latency_s=_NOTHING,
            )
            for quality, std, cost_usd, judgements in zip(
                log.quality_mean[row, columns].tolist(),
                log.quality_std[row, columns].tolist(),
                log.cost_usd_mean[row, columns].tolist(),
                log.judgements[row, columns].tolist(),
                strict=True,
            )
        ]
        scale = float(log.cost_scale_usd[row])
        moved, stds = score(forecasts, weights=_weights(trade_off), cost_scale_usd=scale)
        before, _ = score(forecasts, weights=_weights(float(log.trade_off[row])), cost_scale_usd=scale)
        scores = log.scores[row, columns] + (moved - before)
        propensities = self.policy.propensities(scores=scores, stds=stds, forecasts=forecasts)
        if np.shape(propensities) != scores.shape or not abs(float(propensities.sum()) - 1) <= _SUM_TOLERANCE:
            raise InvalidValueError("policy", self.policy.name, "one whose propensities sum to 1")
        return propensities


def _weights(trade_off: float) -> ScoreWeights:
    return ScoreWeights(trade_off=trade_off, wait_weight=0.0)
