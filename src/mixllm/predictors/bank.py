"""Every LLM's linear model at once, frozen, for the request path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.predictors.bayesian_linear import BayesianLinear
from mixllm.predictors.row_blocks import whole_blocks

__all__ = ["LinearBank"]


class LinearBank:
    """Posteriors of K Bayesian linear models, stacked in float32 and never changed.

    One matrix-vector product for all means and one for all variances: memory bandwidth is the limit, so the stack is
    float32 (design §6).

    Parameters
    ----------
    means
        Posterior means, shape (K, D).
    covariances
        Posterior covariances, shape (K, D, D).
    residual_variances
        Scatter of single targets around their mean, shape (K,).
    """

    def __init__(
        self,
        *,
        means: NDArray[np.float32],
        covariances: NDArray[np.float32],
        residual_variances: NDArray[np.float32],
    ) -> None:
        count, size = means.shape
        if covariances.shape != (count, size, size):
            raise InvalidValueError("covariances", covariances.shape, f"an array of shape {(count, size, size)}")
        if residual_variances.shape != (count,):
            raise InvalidValueError("residual_variances", residual_variances.shape, f"an array of shape {(count,)}")
        self._mean_rows = whole_blocks(means)
        self._rows = whole_blocks(covariances.reshape(count * size, size))
        self.means = self._mean_rows[:count]
        self.covariances = self._rows[: count * size].reshape(count, size, size)
        self.residual_variances = np.ascontiguousarray(residual_variances, np.float32)
        self.residual_variances.setflags(write=False)

    @classmethod
    def stack(cls, models: Sequence[BayesianLinear], *, prior_means: NDArray[np.float64]) -> Self:
        """Freeze the posteriors of `models` under the prior means θ0, shape (K, D)."""
        count, dimension = prior_means.shape
        means = np.empty((count, dimension), np.float32)
        covariances = np.empty((count, dimension, dimension), np.float32)
        residual_variances = np.empty(count, np.float32)
        if len(models) != count:
            raise InvalidValueError("models", len(models), f"{count}, one for each row of prior_means")
        for row, model in enumerate(models):
            means[row] = model.mean_from(prior_means[row])
            covariances[row] = model.covariance
            residual_variances[row] = model.residual_variance()
        return cls(means=means, covariances=covariances, residual_variances=residual_variances)

    def renewed(
        self, models: Sequence[BayesianLinear], *, changed: Sequence[int], prior_means: NDArray[np.float64]
    ) -> Self:
        """Return what `stack` would, where since this one was made only the models at the places `changed` learned.

        Prior means may all have changed: they are what the pool has in common.
        """
        covariances, residual_variances = self.covariances.copy(), self.residual_variances.copy()
        for row in changed:
            covariances[row] = models[row].covariance
            residual_variances[row] = models[row].residual_variance()
        means = np.empty(self.means.shape, np.float32)
        for row, model in enumerate(models):
            means[row] = model.mean_from(prior_means[row])
        return type(self)(means=means, covariances=covariances, residual_variances=residual_variances)

    def predict(self, features: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return means and standard deviations at `features`, shape (D,); both of shape (K,)."""
        z = np.asarray(features, np.float32)
        count, size = self.means.shape
        spread = np.zeros(self._mean_rows.shape, np.float32)
        # `dot` is the same product as `@`, with less done before BLAS is called: that counts at this size.
        spread.reshape(-1)[: count * size] = self._rows.dot(z)[: count * size]
        variances = np.maximum(spread.dot(z)[:count], 0.0)
        return self._mean_rows.dot(z)[:count].astype(np.float64), np.sqrt(variances, dtype=np.float64)
