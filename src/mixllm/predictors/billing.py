"""The factor between what a call was billed and what its tokens cost at list price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.predictors.bayesian_linear import BayesianLinear
from mixllm.predictors.row_blocks import whole_blocks

__all__ = ["MAX_BILLING_FACTOR", "BillingFactors", "log_billing_factor"]

MAX_BILLING_FACTOR = 20.0
"""A factor beyond it, or below its inverse, is a mistake in the price list or in the bill."""

_MAX_LOG = math.log(MAX_BILLING_FACTOR)


def log_billing_factor(*, billed_usd: float, listed_usd: float) -> float | None:
    """Return log(billed/listed), bounded; None where one of them is 0 and says nothing.

    Examples
    --------
    >>> log_billing_factor(billed_usd=0.02, listed_usd=0.02)
    0.0
    >>> log_billing_factor(billed_usd=0.02, listed_usd=0.0) is None
    True
    """
    if billed_usd <= 0 or listed_usd <= 0:
        return None
    return min(_MAX_LOG, max(-_MAX_LOG, math.log(billed_usd) - math.log(listed_usd)))


class BillingFactors:
    """Every LLM's expected billing factor, frozen, for the request path.

    Parameters
    ----------
    means
        Weights of the log factor, shape (K, D).
    residual_variances
        Scatter of single log factors around their mean, shape (K,).
    """

    def __init__(self, *, means: NDArray[np.float64], residual_variances: NDArray[np.float64]) -> None:
        if residual_variances.shape != means.shape[:1]:
            raise InvalidValueError("residual_variances", residual_variances.shape, f"of shape {means.shape[:1]}")
        self._mean_rows = whole_blocks(np.asarray(means, np.float32))
        self.means = self._mean_rows[: len(means)]
        self.residual_variances = np.ascontiguousarray(residual_variances, np.float32)
        self._half_variances = self.residual_variances / 2
        self.residual_variances.setflags(write=False)

    @classmethod
    def stack(cls, models: Sequence[BayesianLinear], *, prior_means: NDArray[np.float64]) -> Self:
        """Freeze `models` of log factors under the prior means θ0, shape (K, D)."""
        means = np.zeros(prior_means.shape)
        for row, model in enumerate(models):
            means[row] = model.mean_from(prior_means[row])
        return cls(means=means, residual_variances=np.array([model.residual_variance() for model in models]))

    def relative_stds(self) -> NDArray[np.float64]:
        """Return the standard deviation of a single factor over its mean, sqrt(exp(s²) − 1); shape (K,)."""
        scatter: NDArray[np.float64] = np.sqrt(np.expm1(self.residual_variances.astype(np.float64)))
        return scatter

    def predict(self, features: FloatArray) -> NDArray[np.float64]:
        """Return the expected factors at `features`, shape (D,); they have shape (K,).

        Notes
        -----
        exp(μ + s²/2), the mean of a lognormal, within the bounds of `MAX_BILLING_FACTOR`.
        """
        logs = self._mean_rows.dot(np.asarray(features, np.float32))[: len(self.means)]
        log_factors = logs + self._half_variances
        bounded = np.minimum(np.maximum(log_factors, -_MAX_LOG), _MAX_LOG)
        factors: NDArray[np.float64] = np.exp(bounded).astype(np.float64)
        return factors
