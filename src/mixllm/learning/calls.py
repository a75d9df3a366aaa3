"""From the facts of a call to the predictors of length, billing and latency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.learning.recipe import LLMModel
from mixllm.predictors import TimedCall, bounded_log_pace, length_features, log_billing_factor
from mixllm.types import Outcome, Price

__all__ = ["teach_call", "teach_times"]


def teach_call(
    model: LLMModel,
    features: NDArray[np.float32],
    *,
    tokens_in: int,
    outcome: Outcome,
    price: Price | None,
    in_flight: int = 0,
    max_in_flight: int | None = None,
    at_s: float = 0.0,
) -> None:
    """Teach `model` the facts of one successful call.

    Parameters
    ----------
    model
        Predictors of the LLM that answered.
    features
        z of the query, shape (D,).
    tokens_in
        Prompt tokens as the decision saw them: forecasts are made from them, so they are learned on them too.
    outcome
        What happened; its ``tokens_out`` is known.
    price
        List price of the LLM; None where it never had one, and nothing is learned of its bills.
    in_flight
        Calls to the LLM that were under way when it was chosen.
    max_in_flight
        Calls that it serves at the same time, where that is declared.
    at_s
        Unix time of the answer.

    Raises
    ------
    InvalidValueError
        Where a fact is out of range.
    """
    tokens_out = outcome.tokens_out or 0
    length = round(tokens_out / outcome.choices)  # of one answer; they are written side by side
    extended = length_features(features, tokens_in)
    if outcome.latency_s is not None:  # Before its length is learned: spreads are those of forecasts.
        expected, length_log_std = model.length.log_spread(extended)
        call = TimedCall(
            latency_s=outcome.latency_s,
            tokens_out=length,
            tokens_in=tokens_in,
            ttft_s=outcome.ttft_s,
            streamed=outcome.streamed or outcome.ttft_s is not None,
            in_flight=in_flight,
            max_in_flight=max_in_flight,
            at_s=at_s,
            cached=outcome.cached_tokens_in > 0,
            log_pace=bounded_log_pace(model.pace.predict(features).mean),
            expected_tokens_out=expected,
            length_log_std=length_log_std,
        )
        teach_times(model, features, call)
    model.length.update(extended, length)
    if price is None or outcome.cost_usd is None:
        return
    # The forecast prices the tokens that the decision saw: how the LLM itself counts them is in the factor.
    listed_usd = price.cost_usd(tokens_in=tokens_in, tokens_out=tokens_out)
    factor = log_billing_factor(billed_usd=outcome.cost_usd, listed_usd=listed_usd)
    if factor is not None:
        model.billing.update(extended, factor)


def teach_times(model: LLMModel, features: NDArray[np.float32], call: TimedCall) -> None:
    """Teach `model` how long a call took: by its lengths, and by the kind of query that it was."""
    log_pace = model.latency.observe(call)
    if log_pace is not None:
        model.pace.update(features, log_pace)
