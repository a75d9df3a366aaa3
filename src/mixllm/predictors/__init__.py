"""Predictors, one set per LLM: quality, length (hence cost) and latency; arrays in, estimates out.

The state of those that learn online is additive: sums over observations, so that two learners merge into the one that
would have seen both data, and a decay of the sums forgets. Beside them stand regressors that were fitted offline and
frozen into arrays (`FrozenRegressor`, `FrozenBank`).
"""

from mixllm.predictors.bank import LinearBank
from mixllm.predictors.bayesian_linear import BayesianLinear
from mixllm.predictors.billing import MAX_BILLING_FACTOR, BillingFactors, log_billing_factor
from mixllm.predictors.density import FrozenDensity, QuerySample
from mixllm.predictors.forest import FrozenForest
from mixllm.predictors.frozen import FrozenRegressor, base_at
from mixllm.predictors.frozen_bank import FROZEN_KINDS, FrozenBank, frozen_from_arrays
from mixllm.predictors.latency import (
    LatencyBank,
    LatencyColumns,
    LatencyForecast,
    LatencyPredictor,
    PaceBank,
    TimedCall,
    TimeShape,
    are_time_sums,
    bounded_log_pace,
    expected_wait_s,
    is_former_state,
)
from mixllm.predictors.length import LengthPredictor, length_feature_rows, length_features, tokens_from_log
from mixllm.predictors.linear_frozen import FrozenLinear
from mixllm.predictors.mlp import FrozenMLP
from mixllm.predictors.neighbours import FrozenNeighbours, Weighting, unit_rows
from mixllm.predictors.pooling import pooled_prior_means
from mixllm.predictors.prior import BlockPrior, quality_from_price
from mixllm.predictors.quality import QualityPredictor

__all__ = [
    "FROZEN_KINDS",
    "MAX_BILLING_FACTOR",
    "BayesianLinear",
    "BillingFactors",
    "BlockPrior",
    "FrozenBank",
    "FrozenDensity",
    "FrozenForest",
    "FrozenLinear",
    "FrozenMLP",
    "FrozenNeighbours",
    "FrozenRegressor",
    "LatencyBank",
    "LatencyColumns",
    "LatencyForecast",
    "LatencyPredictor",
    "LengthPredictor",
    "LinearBank",
    "PaceBank",
    "QualityPredictor",
    "QuerySample",
    "TimeShape",
    "TimedCall",
    "Weighting",
    "are_time_sums",
    "base_at",
    "bounded_log_pace",
    "expected_wait_s",
    "frozen_from_arrays",
    "is_former_state",
    "length_feature_rows",
    "length_features",
    "log_billing_factor",
    "pooled_prior_means",
    "quality_from_price",
    "tokens_from_log",
    "unit_rows",
]
