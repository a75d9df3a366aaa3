"""Time of one LLM's answers: what is learned of it, call by call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.predictors.latency.calls import TimedCall
from mixllm.predictors.latency.forecast import LatencyForecast
from mixllm.predictors.latency.queueing import CAPACITIES, QueueFilter, queued
from mixllm.predictors.latency.ratios import RATIO_BINS, normal_prior, ratio_bin
from mixllm.predictors.latency.shape import ShapePrior, TimeShape
from mixllm.units import positive

__all__ = ["LatencyPredictor", "are_time_sums", "is_former_state"]

_PRIOR_CALLS = 2.0
_PRIOR_LOG_VARIANCE = 0.25
_PRIOR_RATIO_CALLS = 5.0
_PRIOR_RATIOS = normal_prior(_PRIOR_RATIO_CALLS)

_LENT_CALLS = 20.0
"""What streamed calls tell of plain ones and the reverse is worth at most this many calls."""

_SHAPE_CALLS = 5.0
"""The same for their times by length."""

_EARLY_CALLS = 20.0
_EARLY_SURPRISE, _MAX_SURPRISE = 10.0, 3.0
"""A time counts in the long run as at most this many times the expected one: a hang, or a spell of slowness, must not
stand for the calls after it. Of an LLM that has become slow for good the recent level tells, until the long run has
followed in steps."""

_MAX_SQUARE = 1.0
_MAX_LOG_RATIO = math.log(10.0)
_MAX_LOG_PACE = 2.0
_LEAST_SHARE = 0.5
"""A call teaches times without waiting where at least this share of its own was no waiting."""

_LEAST_VARIANCE = 1e-3
_MAX_STATE_SUM = 1e40

_SHAPES: Mapping[str, tuple[int, ...]] = {
    "gram": (2, 3, 3),
    "moment": (2, 3),
    "calls": (2,),
    "sums": (4,),
    "ratios": (3, RATIO_BINS),
}
_FORMER_SHAPES: Mapping[str, tuple[int, ...]] = {"gram": (2, 2), "moment": (2,), "sums": (2,)}


class _Expected(NamedTuple):
    """What was expected of a call."""

    alone_s: float
    first_s: float
    typical_s: float
    wait_s: float
    level: float


class LatencyPredictor:
    """Long-run times by length, a recent level on top, calls at the same time, and how far forecasts are off.

    Plain and streamed calls (0 and 1 in all arrays) are kept apart; of which there are few, the others stand in.

    Parameters
    ----------
    window_calls
        Calls after which an old one counts 1/e in the long run, >= 1.
    prior_ttft_s, prior_tpot_s
        What is assumed before any call, worth two calls.

    Notes
    -----
    *Long run*: least squares of TTFT on [1, tokens_in] and of the rest on tokens_out for streamed calls, of the whole
    on [1, tokens_in, tokens_out] for plain ones, weighted by the inverse square of the prior's time. *Recent level* and
    *capacity*: see `QueueFilter`. *Spread*: see `mixllm.predictors.latency.ratios` and `LatencyBank`.
    All but the level is sums that decay with every call and add up; of the level of two, the newer stands.

    Examples
    --------
    >>> model = LatencyPredictor(window_calls=50, prior_ttft_s=1.0, prior_tpot_s=0.02)
    >>> for _ in range(200):
    ...     _ = model.observe(TimedCall(latency_s=2.2, tokens_out=100, ttft_s=0.2))
    >>> forecast = model.forecast()
    >>> round(forecast.streamed.base_s, 2), round(forecast.streamed.per_token_out_s, 3)
    (0.23, 0.02)
    """

    def __init__(self, *, window_calls: float = 300.0, prior_ttft_s: float = 1.0, prior_tpot_s: float = 0.02) -> None:
        if not window_calls >= 1:
            raise InvalidValueError("window_calls", window_calls, ">= 1")
        self.window_calls = window_calls
        self.prior_ttft_s = positive("prior_ttft_s", prior_ttft_s)
        self.prior_tpot_s = positive("prior_tpot_s", prior_tpot_s)
        self._prior = ShapePrior(ttft_s=prior_ttft_s, tpot_s=prior_tpot_s)
        # All sums in one place, so that one product decays them.
        self._whole = np.zeros(sum(math.prod(shape) for shape in _SHAPES.values()))
        ends = np.cumsum([math.prod(shape) for shape in _SHAPES.values()])[:-1]
        parts = np.split(self._whole, ends)
        self._arrays = {name: part.reshape(_SHAPES[name]) for name, part in zip(_SHAPES, parts, strict=True)}
        self._gram, self._moment, self._calls, self._sums, self._ratios = self._arrays.values()
        self._queue = QueueFilter()
        self._long_run = self._solve()

    @property
    def observations(self) -> float:
        """Calls learned from, decayed."""
        return float(self._calls.sum())

    def forecast(self, *, max_in_flight: int | None = None) -> LatencyForecast:
        """Return what the next calls are expected to take, at an LLM that is declared to serve `max_in_flight`."""
        place = self._queue.place(max_in_flight)
        plain, streamed, first = self._ratios
        return LatencyForecast(
            plain=self._long_run[0],
            streamed=self._long_run[1],
            level=self._queue.level(place, noise_variance=self._variance()),
            capacity=float(CAPACITIES[place]) if max_in_flight is None else float(max_in_flight),
            served_s=float(self._sums[2]),
            served=float(self._sums[3]),
            plain_ratios=tuple((plain + _lent(streamed) + _PRIOR_RATIOS).tolist()),
            streamed_ratios=tuple((streamed + _lent(plain) + _PRIOR_RATIOS).tolist()),
            ttft_ratios=tuple((first + _PRIOR_RATIOS).tolist()),
        )

    def observe(self, call: TimedCall) -> float | None:
        """Learn the time of one successful call.

        Returns
        -------
        The logarithm of how much longer it took than its lengths say, for what learns of kinds of calls; None where it
        tells nothing of that: early on, and where it waited or came from a cache.
        """
        mode = int(call.is_streamed)
        # While it was under way, nothing relaxed: idle was the LLM only before.
        if call.in_flight == 0:
            self._queue.rest(call.at_s - call.latency_s - self._queue.at_s)
        place, variance = self._queue.place(call.max_in_flight), self._variance()
        expected = self._expected(call, mode, place, variance)
        if call.cached:
            self._observe_cached(call, expected, variance)
            return None
        self._decay()
        self._learn_spread(call, mode, expected, variance)
        log_pace = self._learn_long_run(call, mode, expected)
        self._learn_level(call, expected, variance)
        after = self._long_run[mode].latency_s(call.tokens_in, call.tokens_out)
        self._long_run = self._solve()
        self._queue.shift(math.log(self._long_run[mode].latency_s(call.tokens_in, call.tokens_out) / after))
        return log_pace

    def merge(self, other: Self) -> None:
        """Add what `other` has learned; refuses one with other parameters."""
        if self._parameters() != other._parameters():
            raise InvalidValueError("other", other._parameters(), f"a predictor with {self._parameters()}")
        theirs = other.state()
        newest = max((self._queue, other._queue), key=lambda queue: queue.newest().tolist()).newest()
        for name, array in self._arrays.items():
            array += theirs[name]
        self._queue.load(self._queue.penalties + theirs["penalties"], newest)
        self._long_run = self._solve()

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return the state: sums that add up, and ``recent``, of which the newer stands."""
        kept = {name: array.copy() for name, array in self._arrays.items()}
        return {**kept, "penalties": self._queue.penalties.copy(), "recent": self._queue.newest()}

    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Replace the state; raises `StateError` where it does not fit, and leaves the state as it was."""
        fits = set(state) == {*_SHAPES, "penalties", "recent"} and are_time_sums(state) and QueueFilter.fits(state)
        if not fits:
            raise StateError("Latency state is damaged or of another version. Load another checkpoint.")
        for name, array in self._arrays.items():
            array[...] = state[name]
        self._queue.load(state["penalties"], state["recent"])
        self._long_run = self._solve()

    def clone(self) -> Self:
        """Return an untrained copy with the same parameters."""
        window_calls, prior_ttft_s, prior_tpot_s = self._parameters()
        return type(self)(window_calls=window_calls, prior_ttft_s=prior_ttft_s, prior_tpot_s=prior_tpot_s)

    def _parameters(self) -> tuple[float, float, float]:
        return self.window_calls, self.prior_ttft_s, self.prior_tpot_s

    # ---- what is expected -----------------------------------------------------------------------------------------

    def _expected(self, call: TimedCall, mode: int, place: int, variance: float) -> _Expected:
        shape, pace = self._long_run[mode], math.exp(call.log_pace)
        alone_s = pace * shape.latency_s(call.tokens_in, call.tokens_out)
        typical_s = (float(self._sums[2]) + alone_s) / (float(self._sums[3]) + 1.0)
        return _Expected(
            alone_s=alone_s,
            first_s=pace * shape.ttft_s(call.tokens_in),
            typical_s=typical_s,
            wait_s=float(queued(call.in_flight)[place]) * typical_s if call.in_flight else 0.0,
            level=self._queue.level(place, noise_variance=variance).log(),
        )

    def _variance(self) -> float:
        squares, count = self._sums[:2].tolist()
        mean: float = (squares + _PRIOR_CALLS * _PRIOR_LOG_VARIANCE) / (count + _PRIOR_CALLS)
        return max(_LEAST_VARIANCE, mean)

    def _solve(self) -> tuple[TimeShape, TimeShape]:
        both = self._prior.solve(self._gram.sum(axis=0), self._moment.sum(axis=0), count=float(self._calls.sum()))
        if not self._calls.all():  # Only calls of one kind, if any: nothing is known of a difference.
            return both, both
        plain, streamed = (
            self._prior.solve(
                self._gram[mode], self._moment[mode], count=float(self._calls[mode]), near=both, calls=_SHAPE_CALLS
            )
            for mode in (0, 1)
        )
        return plain, streamed

    # ---- what is learned ------------------------------------------------------------------------------------------

    def _decay(self) -> None:
        self._whole *= 1.0 - 1.0 / self.window_calls

    def _observe_cached(self, call: TimedCall, expected: _Expected, variance: float) -> None:
        # A warm cache can only make a call quicker. One that is slow all the same tells that the LLM is slow.
        if call.latency_s > (expected.alone_s + expected.wait_s) * math.exp(expected.level):
            self._learn_level(call, expected, variance)

    def _learn_level(self, call: TimedCall, expected: _Expected, variance: float) -> None:
        self._queue.observe(
            latency_s=call.latency_s,
            alone_s=expected.alone_s,
            typical_s=expected.typical_s,
            in_flight=call.in_flight,
            noise_variance=variance,
            at_s=call.at_s,
            declared=call.max_in_flight,
        )

    def _learn_spread(self, call: TimedCall, mode: int, expected: _Expected, variance: float) -> None:
        shape, slowness = self._long_run[mode], math.exp(expected.level)
        known = _log_ratio(call.latency_s, (expected.alone_s + expected.wait_s) * slowness)
        tokens = call.tokens_out if call.expected_tokens_out is None else call.expected_tokens_out
        usual_s = shape.latency_s(call.tokens_in, tokens)
        share = shape.per_token_out_s * tokens / usual_s
        std = math.sqrt(variance + (share * call.length_log_std) ** 2)
        unknown = _log_ratio(call.latency_s, (math.exp(call.log_pace) * usual_s + expected.wait_s) * slowness)
        self._ratios[mode, ratio_bin(unknown / std)] += 1.0
        if call.ttft_s is not None:
            first = _log_ratio(call.ttft_s, (expected.first_s + expected.wait_s) * slowness)
            self._ratios[2, ratio_bin(first / math.sqrt(variance))] += 1.0
        self._sums[:2] += (min(_MAX_SQUARE, known * known), 1.0)

    def _learn_long_run(self, call: TimedCall, mode: int, expected: _Expected) -> float | None:
        early = float(self._calls.sum()) < _EARLY_CALLS
        self._calls[mode] += 1.0
        served_share = expected.alone_s / (expected.alone_s + expected.wait_s)
        if served_share < _LEAST_SHARE:
            return None
        surprise = _EARLY_SURPRISE if early else _MAX_SURPRISE
        pace = math.exp(call.log_pace)
        served_s = _bounded(call.latency_s * served_share, expected.alone_s, surprise)
        self._sums[2:] += (served_s, 1.0)
        if mode and call.ttft_s is not None:
            first_share = expected.first_s / (expected.first_s + expected.wait_s)
            first_s = _bounded(min(call.ttft_s, call.latency_s) * first_share, expected.first_s, surprise)
            rest_s = min(max(call.latency_s - call.ttft_s, 0.0), surprise * (expected.alone_s - expected.first_s))
            self._learn(
                mode, (1.0, call.tokens_in, 0.0), first_s / pace, self._prior.weight(first=True, tokens_out=0.0)
            )
            weight = self._prior.weight(first=False, tokens_out=call.tokens_out)
            self._learn(mode, (0.0, 0.0, call.tokens_out), rest_s / pace, weight)
        else:
            x = (1.0, call.tokens_in, call.tokens_out)
            weight = self._prior.weight(first=True, tokens_out=call.tokens_out)
            self._learn(mode, x, served_s / pace, weight)
        if early:
            return None
        log_pace = call.log_pace + math.log(max(call.latency_s * served_share, 1e-9) / expected.alone_s)
        return min(_MAX_LOG_PACE, max(-_MAX_LOG_PACE, log_pace - expected.level))

    def _learn(self, mode: int, x: tuple[float, float, float], time_s: float, weight: float) -> None:
        row = np.array(x)
        weighted = weight * row
        self._gram[mode] += np.outer(weighted, row)
        self._moment[mode] += weighted * time_s


def _lent(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the counts of one kind of calls add to those of the other."""
    return counts * min(1.0, _LENT_CALLS / max(float(counts.sum()), 1e-9))


def is_former_state(state: Mapping[str, NDArray[np.float64]]) -> bool:
    """Return whether `state` is one from before recent levels were kept, or none at all: latency then begins afresh."""
    return not state or {name: array.shape for name, array in state.items()} == _FORMER_SHAPES


def are_time_sums(state: Mapping[str, NDArray[np.float64]]) -> bool:
    """Return whether the sums of `state` can be those of calls: none negative, Gram matrices among them."""
    sums = all(name in state and _is_sum(state[name], shape) for name, shape in _SHAPES.items())
    return sums and _are_grams(state["gram"])


def _bounded(time_s: float, expected_s: float, surprise: float) -> float:
    return min(max(time_s, expected_s / surprise), expected_s * surprise)


def _log_ratio(time_s: float, expected_s: float) -> float:
    ratio = math.log(max(time_s, 1e-9 * expected_s) / expected_s)
    return min(_MAX_LOG_RATIO, max(-_MAX_LOG_RATIO, ratio))


def _is_sum(array: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    return array.shape == shape and array.dtype.kind in "fiu" and bool(((array >= 0) & (array <= _MAX_STATE_SUM)).all())


def _are_grams(grams: NDArray[np.float64]) -> bool:
    """Return whether they can be sums of outer products: symmetric, and no eigenvalue negative."""
    scale = np.sqrt(np.maximum(np.diagonal(grams, axis1=1, axis2=2), 1e-300))
    correlations = grams / (scale[:, :, None] * scale[:, None, :])
    symmetric = np.allclose(correlations, np.swapaxes(correlations, 1, 2))
    return bool(symmetric and np.linalg.eigvalsh(correlations).min() >= -1e-6)
