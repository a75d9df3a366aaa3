"""How an LLM's time depends on the lengths of prompt and answer, learned by decaying least squares."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixllm.types import Value

__all__ = ["ShapePrior", "TimeShape"]

_PRIOR_CALLS = 2.0
"""Weight of the prior, in calls."""

_LONG_PROMPT_TOKENS = 1000.0
"""A prompt of this length weighs on the slope by prompt length as a call on the rest."""

_MIN_FACTOR = 1e-3
"""A time below this share of its prior is rounding, not speed."""


class TimeShape(Value, frozen=True, kw_only=True, gc=False):
    """TTFT = base_s + per_token_in_s · tokens_in; every token of the answer adds per_token_out_s.

    Examples
    --------
    >>> shape = TimeShape(base_s=0.5, per_token_in_s=0.001, per_token_out_s=0.02)
    >>> shape.ttft_s(100), shape.latency_s(100, 50)
    (0.6, 1.6)
    """

    base_s: float
    per_token_in_s: float
    per_token_out_s: float

    def ttft_s(self, tokens_in: float) -> float:
        """Return the time to the first token."""
        return self.base_s + self.per_token_in_s * tokens_in

    def latency_s(self, tokens_in: float, tokens_out: float) -> float:
        """Return the time to the last token."""
        return self.base_s + self.per_token_in_s * tokens_in + self.per_token_out_s * tokens_out


class ShapePrior:
    """What is assumed of an LLM's times before any call, and what calls teach beside it.

    Parameters
    ----------
    ttft_s, tpot_s
        Time to the first and per further token, each > 0; a prompt's length is assumed to cost nothing.

    Notes
    -----
    Every observation is weighted by the inverse square of its time under the prior, for the scatter of times grows
    with their mean; not by that of the forecast, which would let calls from fast times outweigh the slow ones that
    follow.
    """

    def __init__(self, *, ttft_s: float, tpot_s: float) -> None:
        self.ttft_s = ttft_s
        self.tpot_s = tpot_s
        self._mean = (ttft_s, 0.0, tpot_s)
        self._unit = tuple(1.0 / scale**2 for scale in (ttft_s, ttft_s / _LONG_PROMPT_TOKENS, 2.0 * tpot_s))

    def weight(self, *, first: bool, tokens_out: float) -> float:
        """Return the weight of a time that holds the first token (or not) and `tokens_out` further ones."""
        expected_s = (1.0 if first else 0.25) * self.ttft_s + self.tpot_s * tokens_out
        return 1.0 / expected_s**2

    def solve(
        self,
        gram: NDArray[np.float64],
        moment: NDArray[np.float64],
        *,
        count: float,
        near: TimeShape | None = None,
        calls: float = _PRIOR_CALLS,
    ) -> TimeShape:
        """Return the shape that fits sums of w·xxᵀ and w·xy over x = [1, tokens_in, tokens_out], none negative.

        Parameters
        ----------
        gram, moment
            The sums, of shapes (3, 3) and (3,).
        count
            How many calls they are of.
        near
            What is assumed without any calls; None: the prior.
        calls
            How many average calls that is worth.
        """
        mean = self._mean if near is None else (near.base_s, near.per_token_in_s, near.per_token_out_s)
        rows, right = gram.tolist(), moment.tolist()
        for place, unit in enumerate(self._unit):
            strength = calls * (rows[place][place] + unit) / (count + 1.0)
            rows[place][place] += strength
            right[place] += strength * mean[place]
        times = _non_negative_solution(rows, right)
        return TimeShape(
            base_s=max(times[0], _MIN_FACTOR * self.ttft_s),
            per_token_in_s=times[1],
            per_token_out_s=max(times[2], _MIN_FACTOR * self.tpot_s),
        )


def _non_negative_solution(rows: list[list[float]], right: list[float]) -> list[float]:
    """Solve for three unknowns; what would be negative is 0, and the rest solved without it."""
    # In Python's floats: for so few numbers NumPy takes ten times as long. Scaled to a unit diagonal, since tokens and
    # seconds differ by many orders of magnitude.
    scale = [math.sqrt(rows[place][place]) for place in range(3)]
    free = [0, 1, 2]
    while True:
        matrix = [[rows[i][j] / (scale[i] * scale[j]) for j in free] for i in free]
        solved = _solution(matrix, [right[i] / scale[i] for i in free])
        if min(solved, default=0.0) >= 0.0:
            found = dict(zip(free, solved, strict=True))
            return [found.get(place, 0.0) / scale[place] for place in range(3)]
        free = [place for place, time in zip(free, solved, strict=True) if time >= 0.0]


def _solution(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solve a positive definite system by elimination."""
    size = len(right)
    for i in range(size):
        for j in range(i + 1, size):
            factor = matrix[j][i] / matrix[i][i]
            for k in range(i, size):
                matrix[j][k] -= factor * matrix[i][k]
            right[j] -= factor * right[i]
    for i in reversed(range(size)):
        rest = sum(matrix[i][k] * right[k] for k in range(i + 1, size))
        right[i] = (right[i] - rest) / matrix[i][i]
    return right
