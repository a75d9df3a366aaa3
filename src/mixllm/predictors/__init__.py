"""Predictors, one set per LLM: quality, length (hence cost) and latency; arrays in, estimates out.

Every predictor's state is additive: sums over observations, so that two learners merge into the one that would have
seen both data, and a decay of the sums forgets.
"""

from mixllm.predictors.bank import LinearBank
from mixllm.predictors.bayesian_linear import BayesianLinear
from mixllm.predictors.billing import MAX_BILLING_FACTOR, BillingFactors, log_billing_factor
from mixllm.predictors.latency import LatencyForecast, LatencyPredictor
from mixllm.predictors.length import LengthPredictor, length_features, tokens_from_log
from mixllm.predictors.pooling import pooled_prior_means
from mixllm.predictors.prior import BlockPrior, quality_from_price
from mixllm.predictors.quality import QualityPredictor
from mixllm.predictors.wait import expected_wait_s

__all__ = [
    "MAX_BILLING_FACTOR",
    "BayesianLinear",
    "BillingFactors",
    "BlockPrior",
    "LatencyForecast",
    "LatencyPredictor",
    "LengthPredictor",
    "LinearBank",
    "QualityPredictor",
    "expected_wait_s",
    "length_features",
    "log_billing_factor",
    "pooled_prior_means",
    "quality_from_price",
    "tokens_from_log",
]
