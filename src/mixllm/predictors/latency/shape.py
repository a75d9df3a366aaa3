"""How an LLM's time depends on the lengths of prompt and answer, learned by decaying least squares."""

from __future__ import annotations

from collections.abc import Sequence

from mixllm.types import Value

__all__ = ["ShapePrior", "TimeShape", "TimeSums"]

_Gram = tuple[float, float, float, float, float, float]
"""The different numbers of a symmetric matrix of three rows, row by row."""

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
        self._unit = [1.0 / scale**2 for scale in (ttft_s, ttft_s / _LONG_PROMPT_TOKENS, 2.0 * tpot_s)]

    def weight(self, *, first: bool, tokens_out: float) -> float:
        """Return the weight of a time that holds the first token (or not) and `tokens_out` further ones."""
        expected_s = (1.0 if first else 0.25) * self.ttft_s + self.tpot_s * tokens_out
        return 1.0 / expected_s**2

    def solve(self, sums: TimeSums, *, near: TimeShape | None = None, calls: float = _PRIOR_CALLS) -> TimeShape:
        """Return the shape that fits `sums`, none of it negative.

        Parameters
        ----------
        sums
            What is known of calls.
        near
            What is assumed without any calls; None: the prior.
        calls
            How many average calls that is worth.
        """
        mean = self._mean if near is None else (near.base_s, near.per_token_in_s, near.per_token_out_s)
        share = calls / (sums.calls + 1.0)
        a, b, c, d, e, f = sums.gram
        u, v, w = sums.moment
        unit = self._unit
        first, second, third = share * (a + unit[0]), share * (d + unit[1]), share * (f + unit[2])
        times = _non_negative_solution(
            (a + first, b, c, d + second, e, f + third),
            (u + first * mean[0], v + second * mean[1], w + third * mean[2]),
        )
        return TimeShape(
            base_s=max(times[0], _MIN_FACTOR * self.ttft_s),
            per_token_in_s=times[1],
            per_token_out_s=max(times[2], _MIN_FACTOR * self.tpot_s),
        )


class TimeSums:
    """Decayed sums of w·xxᵀ and w·xy over x = [1, tokens_in, tokens_out] and times y, and of calls.

    In Python's floats: for so few numbers NumPy takes ten times as long.

    Parameters
    ----------
    calls
        Number of calls.
    gram
        The six different sums of w·xxᵀ: of the first row, of the second from the diagonal on, of the third.
    moment
        The three sums of w·xy.
    """

    __slots__ = ("calls", "gram", "moment")

    def __init__(self, *, calls: float = 0.0, gram: Sequence[float] = (0.0,) * 6, moment: Sequence[float] = (0.0,) * 3):
        self.calls = calls
        self.gram = list(gram)
        self.moment = list(moment)

    def decay(self, kept: float) -> None:
        """Keep the share `kept` of what is known."""
        self.calls *= kept
        self.gram = [kept * one for one in self.gram]
        self.moment = [kept * one for one in self.moment]

    def add(self, x: tuple[float, float, float], time_s: float, weight: float) -> None:
        """Add a time of a call, or of a part of it; `calls` stays."""
        one, tokens_in, tokens_out = x
        first, second, third = weight * one, weight * tokens_in, weight * tokens_out
        a, b, c, d, e, f = self.gram
        self.gram = [
            a + first * one,
            b + first * tokens_in,
            c + first * tokens_out,
            d + second * tokens_in,
            e + second * tokens_out,
            f + third * tokens_out,
        ]
        a, b, c = self.moment
        self.moment = [a + first * time_s, b + second * time_s, c + third * time_s]

    def __add__(self, other: TimeSums) -> TimeSums:
        return TimeSums(
            calls=self.calls + other.calls,
            gram=[one + another for one, another in zip(self.gram, other.gram, strict=True)],
            moment=[one + another for one, another in zip(self.moment, other.moment, strict=True)],
        )


def _non_negative_solution(gram: _Gram, right: tuple[float, float, float]) -> tuple[float, float, float]:
    """Solve for three unknowns; what would be negative is 0, and the rest solved without it."""
    while True:
        times = _solution(gram, right)
        if min(times) >= 0.0:
            return times
        # Without anything beside the diagonal and on the right, an unknown is 0 and touches no other.
        p, q, r = (float(time >= 0.0) for time in times)
        a, b, c, d, e, f = gram
        gram = a, b * p * q, c * p * r, d, e * q * r, f
        right = right[0] if p else 0.0, right[1] if q else 0.0, right[2] if r else 0.0


def _solution(gram: _Gram, right: tuple[float, float, float]) -> tuple[float, float, float]:
    """Solve a positive definite system by elimination, which no difference of scale between the unknowns disturbs."""
    a, b, c, d, e, f = gram
    u, v, w = right
    second, third = b / a, c / a
    d, e, f = d - second * b, e - second * c, f - third * c
    v, w = v - second * u, w - third * u
    last = e / d
    z = (w - last * v) / (f - last * e)
    y = (v - e * z) / d
    return (u - b * y - c * z) / a, y, z
