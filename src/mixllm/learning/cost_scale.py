"""The scale of cost: what the reference LLM would have been billed on average."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import StateError
from mixllm.predictors import log_billing_factor
from mixllm.types import Outcome, Price
from mixllm.units import positive

__all__ = ["CostScale", "scale_ratio"]

_MIN_USD = 1e-9
_PRIOR_TOKENS_IN = 200.0
_MAX_SUM = 1e40


class CostScale:
    """c_ref: the mean cost of the reference LLM, had it given the answers that were given.

    Lengths and surcharges are those of all answers, whoever gave them: they are known at once, also where the
    reference LLM itself is rarely chosen.

    Parameters
    ----------
    window
        Answers over which the mean runs, >= 1.
    prior_tokens_out
        Answer length expected before any answer.

    Examples
    --------
    >>> scale = CostScale(window=100, prior_tokens_out=200)
    >>> price = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=1)
    >>> scale.usd(price), scale.usd(None)
    (0.0004, 1.0)
    """

    def __init__(self, *, window: float, prior_tokens_out: float) -> None:
        self.window = positive("window", window)
        self.prior_tokens_out = positive("prior_tokens_out", prior_tokens_out)
        self._cost_usd = self._answers = 0.0  # Decayed sums: what the reference LLM would have cost, and answers.

    def usd(self, reference: Price | None) -> float:
        """Return c_ref in USD, > 0; 1 where there is no reference LLM."""
        if reference is None:
            return 1.0
        prior_usd = reference.cost_usd(tokens_in=_PRIOR_TOKENS_IN, tokens_out=self.prior_tokens_out)
        return max((self._cost_usd + prior_usd) / (self._answers + 1.0), _MIN_USD)

    def add(self, outcome: Outcome, *, tokens_in: int, price: Price, reference: Price) -> None:
        """Add an answer.

        Parameters
        ----------
        outcome
            Its facts.
        tokens_in
            Prompt tokens as the decision saw them, where the outcome does not count them.
        price, reference
            Price of the LLM that gave it, and of the reference LLM.

        Notes
        -----
        What the reference LLM would have been billed for this answer: its length is as good a guess as any.
        """
        tokens_in, tokens_out = outcome.tokens_in or tokens_in, outcome.tokens_out or 0
        billed = reference.cost_usd(tokens_in=tokens_in, tokens_out=tokens_out)
        own_usd = price.cost_usd(tokens_in=tokens_in, tokens_out=tokens_out)
        surcharge = log_billing_factor(billed_usd=outcome.cost_usd or 0.0, listed_usd=own_usd) or 0.0
        kept = 1.0 - 1.0 / self.window
        self._cost_usd = kept * self._cost_usd + billed * math.exp(surcharge)
        self._answers = kept * self._answers + 1.0

    def start_from(self, cost_usd: NDArray[np.float64]) -> None:
        """Start from recorded costs of the reference LLM itself, shape (n,); nothing changes where there are none."""
        calls = min(float(len(cost_usd)), self.window)
        if calls:
            self._cost_usd, self._answers = float(cost_usd.mean()) * calls, calls

    def state(self) -> NDArray[np.float64]:
        """Return the decayed sums of costs and answers, shape (2,)."""
        return np.array([self._cost_usd, self._answers])

    def restored(self, state: NDArray[np.float64] | None) -> Self:
        """Return a scale with the same settings and this state; raises `StateError` where it is damaged."""
        if state is None or state.shape != (2,) or not ((state >= 0) & (state < _MAX_SUM)).all():
            raise StateError("The checkpoint's cost scale is damaged. Load another checkpoint.")
        scale = type(self)(window=self.window, prior_tokens_out=self.prior_tokens_out)
        scale._cost_usd, scale._answers = state.tolist()  # noqa: SLF001 -- its own class
        return scale


def scale_ratio(before: Price | None, after: Price | None) -> float:
    """Return what sums of costs are multiplied with where another LLM becomes the reference, or its price changes.

    Answers of the one are taken to be as long as those of the other, until the reference's own come in. 1 where one of
    them is not known, or `before` is free.

    Examples
    --------
    >>> cheap = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=1)
    >>> dear = Price(usd_per_million_tokens_in=4, usd_per_million_tokens_out=4)
    >>> scale_ratio(cheap, dear), scale_ratio(None, dear)
    (4.0, 1.0)
    """
    if before is None or after is None or before.blended_usd_per_million_tokens <= 0:
        return 1.0
    return after.blended_usd_per_million_tokens / before.blended_usd_per_million_tokens
