"""How much longer calls of a kind take than their lengths say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.interfaces import FloatArray
from mixllm.predictors.bayesian_linear import BayesianLinear
from mixllm.predictors.row_blocks import whole_blocks

__all__ = ["PaceBank", "bounded_log_pace"]

_MAX_LOG = math.log(5.0)


def bounded_log_pace(log_pace: float) -> float:
    """Return `log_pace` within a factor of five: more is no kind of query, but another LLM.

    Examples
    --------
    >>> bounded_log_pace(0.5), round(bounded_log_pace(-9.0), 2)
    (0.5, -1.61)
    """
    return min(_MAX_LOG, max(-_MAX_LOG, log_pace))


class PaceBank:
    """Every LLM's pace by the kind of query, frozen, for the request path.

    Parameters
    ----------
    means
        Weights of the log pace over z, shape (K, D).
    """

    def __init__(self, means: NDArray[np.float32]) -> None:
        self._count = len(means)
        self._mean_rows = whole_blocks(means) if self._count else means.reshape(0, 0)

    @property
    def means(self) -> NDArray[np.float32]:
        """The weights, shape (K, D)."""
        return self._mean_rows[: self._count]

    @classmethod
    def stack(cls, models: Sequence[BayesianLinear]) -> Self:
        """Freeze K models of the log pace over z, shape (D,)."""
        return cls(np.array([model.mean for model in models], np.float32))

    def predict(self, features: FloatArray) -> NDArray[np.float64]:
        """Return each LLM's pace at `features`, shape (D,); they have shape (K,), and 1 is usual."""
        if not self._count:
            return np.ones(0)
        logs = self._mean_rows.dot(np.asarray(features, np.float32))[: self._count].astype(np.float64)
        paces: NDArray[np.float64] = np.exp(np.minimum(np.maximum(logs, -_MAX_LOG), _MAX_LOG))
        return paces
