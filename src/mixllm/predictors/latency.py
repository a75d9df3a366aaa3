"""Time of one LLM's answers: time to the first token, time per further token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.types import Estimate, Value
from mixllm.units import non_negative, positive

__all__ = ["LatencyForecast", "LatencyPredictor"]

_PRIOR_CALLS = 2.0
"""Weight of the prior TTFT and TPOT, in calls."""

_PRIOR_RELATIVE_STD = 0.5
_MIN_FACTOR = 1e-3
"""A TTFT or TPOT below this share of its prior is rounding, not speed."""

_MAX_SURPRISE = 10.0
"""A time counts as at most this many times the expected one: a single hang must not stand for the next hundred calls.
A real slow-down beyond it is followed in steps, since the expected time grows with every call."""

_SURPRISE_WEIGHT = 2.0
_MAX_FORGETTING = 0.5
_MAX_SQUARED_RESIDUAL = 4.0
_MAX_STATE_SUM = 1e40


class LatencyForecast(Value, frozen=True, kw_only=True):
    """TTFT, TPOT and the relative standard deviation of a whole call's time, without any waiting."""

    ttft_s: float
    tpot_s: float
    relative_std: float

    def latency_s(self, tokens_out: float) -> Estimate:
        """Return the time of an answer of `tokens_out` tokens.

        Examples
        --------
        >>> LatencyForecast(ttft_s=0.5, tpot_s=0.02, relative_std=0.1).latency_s(100)
        Estimate(mean=2.5, std=0.25)
        """
        mean = self.ttft_s + self.tpot_s * tokens_out
        return Estimate(mean=mean, std=mean * self.relative_std)


class LatencyPredictor:
    """Decaying least squares of latency = TTFT + TPOT · tokens_out.

    A streamed call tells both its TTFT and its latency, a plain call only the latency: the first is one observation
    of [1, 0] and one of [1, tokens], the second one of [1, tokens]. All sums decay with every call, so that the newest
    calls count most and nothing is ever "full"; they decay faster while calls surprise.

    Parameters
    ----------
    window_calls
        Calls after which an old one counts 1/e where nothing changes, >= 1.
    prior_ttft_s, prior_tpot_s
        What is assumed before any call, worth two calls.

    Notes
    -----
    Each observation is weighted by the inverse of its time under the prior, for the scatter of latencies grows with
    their mean; not by that of the forecast, which would let calls from fast times outweigh the slow ones that follow.
    With r = log(time/expected time), bounded to ±log 10, a call leaves the others 1 − (1 + 2r²)/window of their weight,
    at least half where the window is two calls or more.
    The state, sums of w·xxᵀ, w·xy and of squared relative residuals, is additive.

    Examples
    --------
    >>> model = LatencyPredictor(window_calls=50, prior_ttft_s=1.0, prior_tpot_s=0.02)
    >>> for _ in range(200):
    ...     model.observe(latency_s=2.2, tokens_out=100, ttft_s=0.2)
    >>> forecast = model.forecast()
    >>> round(forecast.ttft_s, 2), round(forecast.tpot_s, 3)
    (0.23, 0.02)
    """

    def __init__(self, *, window_calls: float = 100.0, prior_ttft_s: float = 1.0, prior_tpot_s: float = 0.02) -> None:
        if not window_calls >= 1:
            raise InvalidValueError("window_calls", window_calls, ">= 1")
        self.window_calls = window_calls
        self.prior_ttft_s = positive("prior_ttft_s", prior_ttft_s)
        self.prior_tpot_s = positive("prior_tpot_s", prior_tpot_s)
        self._gram = np.zeros((2, 2))
        self._moment = np.zeros(2)
        self._residual = 0.0
        self._calls = 0.0
        self._current = self._solve()

    @property
    def observations(self) -> float:
        """Calls learned from, decayed."""
        return self._calls

    def forecast(self) -> LatencyForecast:
        """Return what the next call is expected to take."""
        return self._current

    def observe(self, *, latency_s: float, tokens_out: int, ttft_s: float | None = None) -> None:
        """Learn the time of one successful call.

        Parameters
        ----------
        latency_s
            Time to the last token, without the gateway's own waiting.
        tokens_out
            Length of the answer.
        ttft_s
            Time to the first token, where the answer was streamed.

        Raises
        ------
        InvalidValueError
            Where a time or a length is negative or not finite; the state stays as it was.
        """
        non_negative("latency_s", latency_s)
        non_negative("tokens_out", tokens_out)
        if ttft_s is not None:
            non_negative("ttft_s", ttft_s)
        expected_s = self._current.latency_s(tokens_out).mean
        bounded_s = min(latency_s, _MAX_SURPRISE * expected_s)
        self._decay(surprise=math.log(max(bounded_s / expected_s, 1.0 / _MAX_SURPRISE)))
        self._learn(float(tokens_out), bounded_s)
        if ttft_s is not None:
            self._learn(0.0, min(ttft_s, latency_s, _MAX_SURPRISE * self._current.ttft_s))
        self._residual += min(_MAX_SQUARED_RESIDUAL, ((bounded_s - expected_s) / expected_s) ** 2)
        self._calls += 1.0
        self._current = self._solve()

    def merge(self, other: Self) -> None:
        """Add what `other` has learned; refuses one with other parameters."""
        if self._parameters() != other._parameters():
            raise InvalidValueError("other", other._parameters(), f"a predictor with {self._parameters()}")
        self._gram += other._gram
        self._moment += other._moment
        self._residual += other._residual
        self._calls += other._calls
        self._current = self._solve()

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return the state: ``gram`` (2, 2), ``moment`` (2,), ``sums`` (2,) of squared residuals and calls."""
        return {
            "gram": self._gram.copy(),
            "moment": self._moment.copy(),
            "sums": np.array([self._residual, self._calls]),
        }

    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Replace the state; raises `StateError` where it does not fit, and leaves the state as it was."""
        shapes = {"gram": (2, 2), "moment": (2,), "sums": (2,)}
        fits = set(state) == set(shapes) and all(_is_sum(state[name], shape) for name, shape in shapes.items())
        if not fits or not _is_gram(state["gram"]):
            raise StateError("Latency state is damaged or of another version. Load another checkpoint.")
        self._gram = state["gram"].astype(np.float64)
        self._moment = state["moment"].astype(np.float64)
        self._residual, self._calls = (float(total) for total in state["sums"])
        self._current = self._solve()

    def clone(self) -> Self:
        """Return an untrained copy with the same parameters."""
        window_calls, prior_ttft_s, prior_tpot_s = self._parameters()
        return type(self)(window_calls=window_calls, prior_ttft_s=prior_ttft_s, prior_tpot_s=prior_tpot_s)

    def _parameters(self) -> tuple[float, float, float]:
        return self.window_calls, self.prior_ttft_s, self.prior_tpot_s

    def _decay(self, *, surprise: float) -> None:
        keep = 1.0 - max(
            1.0 / self.window_calls,
            min(_MAX_FORGETTING, (1.0 + _SURPRISE_WEIGHT * surprise**2) / self.window_calls),
        )
        self._gram *= keep
        self._moment *= keep
        self._residual *= keep
        self._calls *= keep

    def _learn(self, tokens: float, time_s: float) -> None:
        x = np.array([1.0, tokens])
        weight = 1.0 / (self.prior_ttft_s + self.prior_tpot_s * tokens)
        self._gram += weight * np.outer(x, x)
        self._moment += weight * time_s * x

    def _solve(self) -> LatencyForecast:
        # Ridge towards the prior: each prior coefficient is worth _PRIOR_CALLS observations of its own.
        prior = np.array([self.prior_ttft_s, self.prior_tpot_s])
        strength = _PRIOR_CALLS / np.array([self.prior_ttft_s, self.prior_ttft_s * self.prior_tpot_s])
        ttft_s, tpot_s = np.linalg.solve(self._gram + np.diag(strength), self._moment + strength * prior)
        if tpot_s < 0:
            ttft_s = (self._moment[0] + strength[0] * prior[0]) / (self._gram[0, 0] + strength[0])
        if ttft_s < 0:
            tpot_s = (self._moment[1] + strength[1] * prior[1]) / (self._gram[1, 1] + strength[1])
        relative_variance = (self._residual + _PRIOR_CALLS * _PRIOR_RELATIVE_STD**2) / (self._calls + _PRIOR_CALLS)
        return LatencyForecast(
            ttft_s=max(float(ttft_s), _MIN_FACTOR * self.prior_ttft_s),
            tpot_s=max(float(tpot_s), _MIN_FACTOR * self.prior_tpot_s),
            relative_std=math.sqrt(relative_variance),
        )


def _is_sum(array: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    return array.shape == shape and array.dtype.kind in "fiu" and bool(((array >= 0) & (array <= _MAX_STATE_SUM)).all())


def _is_gram(gram: NDArray[np.float64]) -> bool:
    # Sums of outer products of [1, tokens]: symmetric, and the determinant is not negative (Cauchy and Schwarz).
    diagonal = float(gram[0, 0]) * float(gram[1, 1])
    return bool(np.isclose(gram[0, 1], gram[1, 0])) and float(gram[0, 1]) ** 2 <= diagonal * (1.0 + 1e-9)
