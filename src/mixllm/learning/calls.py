"""From the facts of a call to the predictors of length, billing and latency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.learning.recipe import LLMModel
from mixllm.predictors import length_features, log_billing_factor
from mixllm.types import Outcome, Price

__all__ = ["teach_call"]


def teach_call(
    model: LLMModel, features: NDArray[np.float32], *, tokens_in: int, outcome: Outcome, price: Price | None
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

    Raises
    ------
    InvalidValueError
        Where a fact is out of range.
    """
    tokens_out = outcome.tokens_out or 0
    extended = length_features(features, tokens_in)
    length = round(tokens_out / outcome.choices)  # of one answer; they are written side by side
    model.length.update(extended, length)
    if outcome.latency_s is not None:
        model.latency.observe(latency_s=outcome.latency_s, tokens_out=length, ttft_s=outcome.ttft_s)
    if price is None or outcome.cost_usd is None:
        return
    # The forecast prices the tokens that the decision saw: how the LLM itself counts them is in the factor.
    listed_usd = price.cost_usd(tokens_in=tokens_in, tokens_out=tokens_out)
    factor = log_billing_factor(billed_usd=outcome.cost_usd, listed_usd=listed_usd)
    if factor is not None:
        model.billing.update(extended, factor)
