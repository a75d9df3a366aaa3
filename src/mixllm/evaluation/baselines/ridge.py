"""Ridge regression whose penalty is chosen by leaving out one query at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ridge"]

_FULL = 1.0 - 1e-9


@final
class Ridge:
    """Linear regression of K outputs with an intercept and a penalty on the squared weights.

    Parameters
    ----------
    penalties
        Candidates, as shares of the number of queries. One is taken for all outputs: LLMs are compared with each
        other, and what is shrunk differently compares badly.

    Notes
    -----
    With the eigenvectors V and eigenvalues s of XᵀX (X centred), the leave-one-out residual of query i is
    (y_i − ŷ_i) / (1 − h_i), h_i = 1/n + Σ_j (x_i·v_j)² / (s_j + n·penalty): every penalty costs one product.
    """

    def __init__(self, *, penalties: Sequence[float]) -> None:
        self.penalties = tuple(penalties)
        self.chosen = self.penalties[0]
        self._centre: NDArray[np.float64] = np.zeros(0)
        self._intercept: NDArray[np.float64] = np.zeros(0)
        self._weights: NDArray[np.float64] = np.zeros((0, 0))

    def fit(
        self,
        features: NDArray[np.floating],
        outputs: NDArray[np.float64],
        *,
        loss: Callable[[NDArray[np.float64]], float] | None = None,
    ) -> None:
        """Learn from features, shape (n, d), and outputs, shape (n, K).

        `loss` judges leave-one-out predictions, shape (n, K), to choose the penalty; None takes the squared error.
        """
        queries = len(features)
        self._centre, self._intercept = features.mean(axis=0, dtype=np.float64), outputs.mean(axis=0)
        # float32 carries the products: what it loses is far below the penalties.
        centred = (features - self._centre).astype(np.float32)
        values, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        rotated = centred @ vectors.astype(np.float32)
        residual_of_mean = (outputs - self._intercept).astype(np.float32)
        moments = (rotated.T @ residual_of_mean).astype(np.float64)
        squares = np.square(rotated)
        lowest = np.inf
        weights = np.zeros_like(moments)
        for penalty in self.penalties:
            shrunk = 1.0 / (np.maximum(values, 0.0) + queries * penalty)
            theta = shrunk[:, None] * moments
            leverage = np.minimum(1.0 / queries + squares @ shrunk.astype(np.float32), _FULL)
            left_out = (residual_of_mean - rotated @ theta.astype(np.float32)) / (1.0 - leverage)[:, None]
            error = float(np.square(left_out).sum()) if loss is None else loss(outputs - left_out)
            if error < lowest:
                lowest, self.chosen, weights = error, penalty, theta
        self._weights = vectors @ weights

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the outputs, shape (m, K)."""
        centred = features - self._centre
        return np.asarray(centred @ self._weights + self._intercept, dtype=np.float64)
