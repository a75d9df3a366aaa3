"""The price of a limit on cost relative to one LLM: how much more cost counts, so that routing stays below it."""

from __future__ import annotations

from collections.abc import Callable

from mixllm.decision.pacing import Pacer
from mixllm.decision.score import ScoreWeights
from mixllm.errors import InvalidValueError
from mixllm.units import non_negative, positive

__all__ = ["SharePacer"]


class SharePacer:
    """The dual variable μ >= 0 of a limit on cost relative to always asking one LLM, the reference.

    Parameters
    ----------
    share
        s in (0, 1]: the mean cost may be this share of what the reference would cost on the same queries.
    weights
        Their caution is the limit's: it is s · (1 + κ·exp(−n/n0)), at most 1, after n judgements of the pool.
    pacer
        Makes the pacer that holds μ.

    Notes
    -----
    A call of expected cost ĉ moves 1+μ by the factor exp(η (ĉ − s·ĉ_ref)/(s·c_ref)), with ĉ_ref what the reference
    would cost on the same query and c_ref its mean. (With ĉ_ref below the line the mean of the ratios would be held to
    s, where short queries count as much as long ones, and not the ratio of the means.) When the cost is known, (c − ĉ)
    moves it once more. See `Pacer`, whose steps and range these are.

    Examples
    --------
    >>> pacer = SharePacer(share=0.4)
    >>> for _ in range(20):
    ...     pacer.decided(0.008, reference_usd=0.01, scale_usd=0.01, judgements=0)
    >>> pacer.cost_weight > 2
    True
    """

    def __init__(
        self, *, share: float, weights: ScoreWeights | None = None, pacer: Callable[[], Pacer] = Pacer
    ) -> None:
        if not 0 < share <= 1:
            raise InvalidValueError("share", share, "above 0, at most 1")
        self.share = share
        self.weights = ScoreWeights() if weights is None else weights
        self.pacer = pacer
        self._pacer = pacer()

    @property
    def cost_weight(self) -> float:
        """1+μ: how many times as much cost counts; λ is divided by it."""
        return self._pacer.cost_weight

    @property
    def out_of_reach(self) -> bool:
        """Whether even the cheapest LLMs cost more than the share."""
        return self._pacer.out_of_reach

    def limit(self, judgements: float) -> float:
        """Return the share that may be spent after `judgements` judgements of the pool.

        Examples
        --------
        >>> SharePacer(share=0.4, weights=ScoreWeights(caution=1.0, caution_judgements=100)).limit(100)
        0.5471517764685769
        """
        return min(1.0, self.share * self.weights.caution_factor(judgements))

    def decided(self, usd: float, *, reference_usd: float, scale_usd: float, judgements: float) -> None:
        """Move μ by a call that is expected to cost `usd`, and at the reference `reference_usd`.

        Parameters
        ----------
        usd, reference_usd
            Expected costs, >= 0.
        scale_usd
            c_ref > 0, the reference's mean cost.
        judgements
            How often the pool has been judged.
        """
        limit = self.limit(judgements)
        target_usd = limit * positive("scale_usd", scale_usd)
        excess_usd = non_negative("usd", usd) - limit * non_negative("reference_usd", reference_usd)
        self._pacer.decided(target_usd, target_usd=target_usd)  # A call that counts, and by itself moves nothing.
        self._pacer.corrected(excess_usd, target_usd=target_usd)

    def corrected(self, difference_usd: float, *, scale_usd: float, judgements: float) -> None:
        """Move μ by what a call cost beyond what was expected."""
        self._pacer.corrected(difference_usd, target_usd=self.limit(judgements) * positive("scale_usd", scale_usd))
