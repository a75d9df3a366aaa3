"""The price of a budget: how much more cost counts, so that a period's money lasts for the period."""

from __future__ import annotations

import math

from mixllm.units import non_negative, positive

__all__ = ["Pacer"]

_LARGEST_STEP = 0.5
"""No single call moves log(1+μ) by more: the dearest request of a day must not stop the next ones."""

_LEAST_TARGET_USD = 1e-12
"""Where nothing is left, any cost is far above the target."""

_HIDDEN = 0.1
"""log(1+μ) may run so far below 0 unseen: chance in the costs must not pace what a loose budget pays for."""

_SETTLED = 1e-9


class Pacer:
    """The dual variable μ >= 0 of one budget.

    Parameters
    ----------
    step
        η > 0, how far one call moves log(1+μ) when it costs twice its target.
    first_step
        η of the first call, >= `step`: where nothing is known yet, it moves faster.
    max_weight
        Largest 1+μ, > 1. An LLM that is still too dear then is out of the budget's reach, and μ stays there.

    Notes
    -----
    To choose by λ·q − c/c_ref under a mean cost of at most ρ is, with a Lagrange multiplier μ/c_ref for the limit, to
    choose by λ·q − (1+μ)·c/c_ref: the same score with λ/(1+μ) in the place of λ. μ is found by mirror descent on the
    dual (Balseiro, Lu & Mirrokni 2020, with the entropy of 1+μ):

        1+μ ← clip((1+μ) · exp(η (c − ρ)/ρ), exp(−0.1), max_weight), and max(1, 1+μ) is used.

    Steps are in units of the target ρ, so that η means the same for cents and for dollars. A call's expected cost moves
    μ when it is decided, and the measured cost moves it by the difference when it is known: however late that is, the
    sum of the steps is that of the measured costs. η falls from `first_step` as 1/n to `step`, and no further, so that
    a drift is followed for ever. μ is never below 0: a budget is a limit, not a target.

    Examples
    --------
    >>> pacer = Pacer(step=0.05)
    >>> pacer.cost_weight
    1.0
    >>> for _ in range(20):
    ...     pacer.decided(0.02, target_usd=0.01)
    >>> pacer.cost_weight > 2
    True
    """

    def __init__(self, *, step: float = 0.02, first_step: float = 0.1, max_weight: float = 1000.0) -> None:
        self.step = positive("step", step)
        self.first_step = positive("first_step", first_step)
        self.max_weight = positive("max_weight", max_weight)
        self._log_weight = 0.0
        self._calls = 0

    @property
    def cost_weight(self) -> float:
        """1+μ: how many times as much cost counts; λ is divided by it."""
        return math.exp(max(0.0, self._log_weight))

    @property
    def out_of_reach(self) -> bool:
        """Whether μ can rise no further: the budget is too small for this traffic even with the cheapest LLMs."""
        return self._log_weight >= math.log(self.max_weight) - _SETTLED

    def decided(self, expected_usd: float, *, target_usd: float) -> None:
        """Move μ by a call that is expected to cost `expected_usd` where `target_usd` (ρ) may be spent on each."""
        self._calls += 1
        self._move(non_negative("expected_usd", expected_usd), of_target=1.0, target_usd=target_usd)

    def corrected(self, difference_usd: float, *, target_usd: float) -> None:
        """Move μ by what a call cost beyond what was expected; what was not expected at all counts whole."""
        self._move(difference_usd, of_target=0.0, target_usd=target_usd)

    def _move(self, usd: float, *, of_target: float, target_usd: float) -> None:
        excess = usd / max(target_usd, _LEAST_TARGET_USD) - of_target
        step = max(self.step, self.first_step / (1.0 + self._calls * self.step))
        moved = self._log_weight + max(-_LARGEST_STEP, min(step * excess, _LARGEST_STEP))
        self._log_weight = max(-_HIDDEN, min(moved, math.log(self.max_weight)))
