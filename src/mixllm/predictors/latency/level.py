"""How fast an LLM is just now against its long run."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixllm.types import Value

__all__ = ["IDLE_TIME_S", "RecentLevel", "level_logs"]

IDLE_TIME_S = 20.0
"""Without calls, what is known of the recent level loses 1/e of its weight in this time."""

_NOISE_CAUTION = 4.0
"""A mean log ratio of two standard errors counts half: less is mostly noise."""

_LEAST_WEIGHT, _LEAST_SQUARE = 1e-9, 1e-12


class RecentLevel(Value, frozen=True, kw_only=True, gc=False):
    """Weighted mean of the newest log ratios of measured over expected time.

    Parameters
    ----------
    mean
        The mean.
    weight
        How many calls it stands for.
    at_s
        Unix time of the newest.
    noise_variance
        Variance of a single one.
    """

    mean: float
    weight: float
    at_s: float
    noise_variance: float

    def log(self, idle_s: float = 0.0) -> float:
        """Return what to add to the logarithm of a long-run time, after `idle_s` without calls.

        Notes
        -----
        m / (1 + 1/W² + 4v/(m²W)) with W the weight as it is by then. The last term holds noise back: with v the
        variance of one log ratio, v/W is that of their mean. The second one lets go of what no call has confirmed
        lately, whatever the noise: where W falls below one call, m counts less than half, and soon nothing.

        Examples
        --------
        >>> slow = RecentLevel(mean=2.3, weight=5.0, at_s=0.0, noise_variance=0.04)
        >>> [round(slow.log(idle_s), 1) for idle_s in (0, 30, 60)]
        [2.2, 1.3, 0.1]
        """
        left = max(self.weight * math.exp(-max(idle_s, 0.0) / IDLE_TIME_S), _LEAST_WEIGHT)
        square = max(self.mean * self.mean, _LEAST_SQUARE)
        return self.mean / (1.0 + 1.0 / (left * left) + _NOISE_CAUTION * self.noise_variance / (square * left))


def level_logs(means: NDArray[np.float64], weight: float, noise_variance: float) -> NDArray[np.float64]:
    """Return `RecentLevel.log` of many means of the same weight and noise."""
    left = max(weight, _LEAST_WEIGHT)
    squares = np.maximum(means * means, _LEAST_SQUARE)
    return np.asarray(means / (1.0 + 1.0 / (left * left) + _NOISE_CAUTION * noise_variance / (squares * left)))
