"""What an LLM did before there were events, learned all at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.learning.calls import teach_times
from mixllm.learning.recipe import LLMModel
from mixllm.predictors import TimedCall, bounded_log_pace, length_feature_rows, log_billing_factor
from mixllm.types import Price

__all__ = ["CallHistory", "teach_history"]

_WINDOWS = 10
"""Latencies decay: those older than this many windows have no weight left."""

_MAX_FEATURE = 1e3
"""What predictors take; see `mixllm.predictors.BayesianLinear`."""

_MAX_NUMBER = 1e9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CallHistory:
    """n calls of one LLM.

    Parameters
    ----------
    features
        z of the queries, shape (n, D).
    tokens_in
        Prompt tokens as the router counts them, shape (n,).
    quality, tokens_out, cost_usd, latency_s, ttft_s
        What happened, shape (n,), NaN where nothing is known.
    expected_quality, expected_log_length
        For an LLM with a base: what a base that was fitted without the call says of its quality and of
        log(1 + tokens_out), shape (n,); calls where it is NaN teach nothing about the residual. None asks the LLM's
        own base, whose residuals are too small on the calls that it was fitted to.
    unseen_features
        z of the queries as a tagger that was fitted without them gives it, shape (n, D): what new queries are compared
        with. None takes `features`, whose tags are too sure on the queries that the tagger was fitted to.

    Raises
    ------
    InvalidValueError
        Where a shape does not fit, a feature is not within ±1,000, a quality not between 0 and 1, or another number
        not between 0 and 1e9: whatever is in a history can be learned.

    Examples
    --------
    >>> unknown = np.full(2, np.nan)
    >>> history = CallHistory(
    ...     features=np.ones((2, 3), np.float32), tokens_in=np.array([9.0, 12.0]), quality=np.array([1.0, 0.0]),
    ...     tokens_out=unknown, cost_usd=np.array([0.1, np.nan]), latency_s=unknown, ttft_s=unknown,
    ... )
    >>> history.cost_known
    array([ True, False])
    """

    features: NDArray[np.float32]
    tokens_in: NDArray[np.float64]
    quality: NDArray[np.float64]
    tokens_out: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    ttft_s: NDArray[np.float64]
    expected_quality: NDArray[np.float64] | None = None
    expected_log_length: NDArray[np.float64] | None = None
    unseen_features: FloatArray | None = None

    def __post_init__(self) -> None:
        calls = len(self.features)
        if self.features.ndim != 2 or not (np.abs(self.features) <= _MAX_FEATURE).all():
            raise InvalidValueError("features", self.features.shape, f"shape (n, D), all within ±{_MAX_FEATURE:g}")
        for name in ("tokens_in", "quality", "tokens_out", "cost_usd", "latency_s", "ttft_s"):
            array = getattr(self, name)
            if array.shape != (calls,):
                raise InvalidValueError(name, array.shape, f"shape ({calls},), as features has")
            most = 1.0 if name == "quality" else _MAX_NUMBER
            known = np.ones(calls, np.bool_) if name == "tokens_in" else ~np.isnan(array)
            wrong = known & ~((array >= 0) & (array <= most))
            if wrong.any():
                raise InvalidValueError(name, float(array[wrong][0]), f"between 0 and {most:g}, or NaN where not known")
        for name in ("expected_quality", "expected_log_length"):
            array = getattr(self, name)
            if array is not None and (array.shape != (calls,) or not (np.isnan(array) | np.isfinite(array)).all()):
                raise InvalidValueError(name, array.shape, f"shape ({calls},), finite or NaN")
        unseen = self.unseen_features
        if unseen is not None and (unseen.shape != self.features.shape or not (np.abs(unseen) <= _MAX_FEATURE).all()):
            raise InvalidValueError("unseen_features", unseen.shape, f"as features, all within ±{_MAX_FEATURE:g}")

    @property
    def judged_queries(self) -> FloatArray:
        """Features of the calls with a quality, as new queries would have them, shape (m, D)."""
        features: FloatArray = self.features if self.unseen_features is None else self.unseen_features
        return features[~np.isnan(self.quality)]

    @property
    def cost_known(self) -> NDArray[np.bool_]:
        """Which calls have a cost."""
        return ~np.isnan(self.cost_usd)


def teach_history(model: LLMModel, history: CallHistory, *, price: Price) -> None:
    """Teach `model` the calls of `history`; the sums are those of as many single updates.

    Parameters
    ----------
    model
        The LLM's predictors.
    history
        What it did, oldest first.
    price
        Its list price, from which its bills may differ.

    Raises
    ------
    InvalidValueError
        Where the features have another length than the model's; what it knows stays as it was.
    """
    judged = _known(history.quality, history.expected_quality)
    model.quality.update_many(
        history.features[judged], history.quality[judged], expected=_at(history.expected_quality, judged)
    )
    counted = ~np.isnan(history.tokens_out)
    if not counted.any():
        return
    extended = length_feature_rows(history.features[counted], history.tokens_in[counted])
    measured = _known(history.tokens_out, history.expected_log_length)
    model.length.update_many(
        extended[measured[counted]], history.tokens_out[measured], expected=_at(history.expected_log_length, measured)
    )
    listed = price.usd_per_million_tokens_in * history.tokens_in + price.usd_per_million_tokens_out * history.tokens_out
    factors = [
        None if np.isnan(billed) else log_billing_factor(billed_usd=float(billed), listed_usd=float(cost))
        for billed, cost in zip(history.cost_usd[counted], listed[counted] / 1e6, strict=True)
    ]
    known = np.array([factor is not None for factor in factors])
    if known.any():
        model.billing.update_many(extended[known], np.array([factor for factor in factors if factor is not None]))
    _teach_latencies(model, history, counted)


def _known(facts: NDArray[np.float64], expected: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = ~np.isnan(facts) if expected is None else ~np.isnan(facts) & ~np.isnan(expected)
    return known


def _at(expected: NDArray[np.float64] | None, rows: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    return None if expected is None else expected[rows]


def _teach_latencies(model: LLMModel, history: CallHistory, counted: NDArray[np.bool_]) -> None:
    newest = math.ceil(_WINDOWS * model.latency.window_calls)
    for row in np.flatnonzero(counted & ~np.isnan(history.latency_s))[-newest:].tolist():
        features, ttft_s = history.features[row], float(history.ttft_s[row])
        extended = length_feature_rows(features[None], history.tokens_in[row : row + 1])[0]
        expected, length_log_std = model.length.log_spread(extended)
        call = TimedCall(
            latency_s=float(history.latency_s[row]),
            tokens_out=float(history.tokens_out[row]),
            tokens_in=float(history.tokens_in[row]),
            ttft_s=None if np.isnan(ttft_s) else ttft_s,
            log_pace=bounded_log_pace(model.pace.predict(features).mean),
            expected_tokens_out=expected,
            length_log_std=length_log_std,
        )
        teach_times(model, features, call)
