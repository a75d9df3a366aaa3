"""The score of one LLM for one query: quality against cost, and a penalty for waiting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.decision.forecasts import Forecasts
from mixllm.errors import InvalidValueError
from mixllm.types import Forecast
from mixllm.units import fraction, non_negative, positive

__all__ = ["ScoreWeights", "score"]

_MAX_EXPONENT = 50.0
"""Beyond it the waiting penalty is prohibitive anyway, and grows in a straight line: the score stays finite, and of
LLMs that are all far too late the less late one is still the better."""

_MAX_EXCESS = 1e12

_READING_TOKENS_PER_S = 10.0
"""How fast a stream is read: about 450 English words a minute, faster than most people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreWeights:
    """Weights of the score (design §3; paper Eq. 7–11).

    Parameters
    ----------
    trade_off
        λ >= 0: λ/(1+λ) weighs quality, 1/(1+λ) weighs cost.
    wait_weight
        β >= 0, weight of the waiting penalty.
    wait_steepness_per_s
        γ > 0, how fast the penalty grows with the waiting time.
    wait_onset
        ξ in [0, 1], the share of `deadline_s` at which the penalty equals β.
    deadline_s
        τ > 0, the waiting time that users bear.
    queue_weight
        η >= 0, what a queue as long as τ takes off the score; a shorter one in proportion.
    caution
        κ >= 0, how much more quality counts while the pool has been judged little: λ is multiplied by
        1 + κ·exp(−n/`caution_judgements`) after n judgements.
    caution_judgements
        Judgements of the whole pool after which caution has fallen to 1/e, > 0.
    """

    trade_off: float = 1.4
    wait_weight: float = 0.1
    wait_steepness_per_s: float = 0.5
    wait_onset: float = 0.8
    deadline_s: float = 30.0
    queue_weight: float = 0.3
    caution: float = 0.0
    caution_judgements: float = 300.0

    def __post_init__(self) -> None:
        non_negative("trade_off", self.trade_off)
        non_negative("wait_weight", self.wait_weight)
        positive("wait_steepness_per_s", self.wait_steepness_per_s)
        fraction("wait_onset", self.wait_onset)
        positive("deadline_s", self.deadline_s)
        non_negative("queue_weight", self.queue_weight)
        non_negative("caution", self.caution)
        positive("caution_judgements", self.caution_judgements)

    def cautious_trade_off(self, judgements: float) -> float:
        """Return λ as it is after `judgements` judgements of the pool.

        Examples
        --------
        >>> ScoreWeights(trade_off=2.0, caution=1.0).cautious_trade_off(0)
        4.0
        """
        return self.trade_off * self.caution_factor(judgements)

    def caution_factor(self, judgements: float) -> float:
        """Return 1 + κ·exp(−n/`caution_judgements`), n being `judgements`."""
        return 1.0 + self.caution * math.exp(-judgements / self.caution_judgements)

    @property
    def quality_weight(self) -> float:
        """λ/(1+λ), what one unit of quality is worth in the score."""
        return self.trade_off / (1.0 + self.trade_off)


def score(
    forecasts: Sequence[Forecast], *, weights: ScoreWeights, cost_scale_usd: float, streamed: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the score of each candidate and its standard deviation, both of shape (K,).

    Parameters
    ----------
    forecasts
        Forecasts of the K candidates.
    weights
        λ, β, γ, ξ, τ and η.
    cost_scale_usd
        c_ref > 0, an absolute scale of cost that does not depend on which LLMs are candidates.
    streamed
        Whether the answer is read while it comes.

    Notes
    -----
    s = λ/(1+λ) · p̂ − 1/(1+λ) · ĉ/c_ref − β · exp(γ (w − ξτ)) − η · v/τ, with w the expected time to the last token,
    or of a stream the time that its reader waits: w = max(TTFT, latency − n/r), with n the expected length of the
    answer and r = 10 tokens/s the speed of reading; v is the part of it that is spent in the LLM's queue. A price that
    grows with the queue spreads load before anybody is late (drift plus penalty, Neely 2010): whoever queues delays
    all who come after, which their own waiting does not tell them. Where the exponent e is above 50,
    exp(50) · (e − 49) takes the place of exp(e). The bonus for uncertainty is the policy's. The standard deviation
    counts the uncertainty of quality alone: that of cost comes from the scatter of single answers, which exploring does
    not reduce.
    """
    positive("cost_scale_usd", cost_scale_usd)
    columns = Forecasts.of(forecasts)
    quality_weight = weights.quality_weight
    cost = columns.cost_usd / cost_scale_usd
    wait_s = columns.latency_s
    if streamed:
        wait_s = np.maximum(columns.ttft_s, wait_s - columns.tokens_out / _READING_TOKENS_PER_S)
    exponent = weights.wait_steepness_per_s * (wait_s - weights.wait_onset * weights.deadline_s)
    penalty = _waiting_penalty(exponent, weights.wait_weight)
    queue = weights.queue_weight / weights.deadline_s * columns.wait_s
    scores = quality_weight * columns.quality - (1.0 - quality_weight) * cost - penalty - queue
    if not np.isfinite(scores).all():
        raise InvalidValueError("score", scores.tolist(), "finite for every candidate; a forecast is not")
    return scores, quality_weight * columns.quality_std


def _waiting_penalty(exponent: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    if max(exponent.tolist(), default=0.0) <= _MAX_EXPONENT:  # Nearly always; saves most of the work.
        moderate: NDArray[np.float64] = weight * np.exp(exponent)
        return moderate
    excess = np.clip(exponent - _MAX_EXPONENT, 0.0, _MAX_EXCESS)
    penalty: NDArray[np.float64] = weight * np.exp(np.minimum(exponent, _MAX_EXPONENT)) * (1.0 + excess)
    return penalty
