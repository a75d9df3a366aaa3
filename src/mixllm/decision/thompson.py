"""Probability matching: each candidate is chosen as often as it is believed to be the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.decision.bounds import ExplorationBounds
from mixllm.decision.greedy import certain
from mixllm.types import Forecast
from mixllm.units import positive

__all__ = ["ThompsonPolicy", "probability_of_best"]

_GRID = 65
_GRID_REACH = 6.0
_MIN_STD = 1e-9


def probability_of_best(means: NDArray[np.float64], stds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability that each of K independent Gaussians is the largest, shape (K,).

    Notes
    -----
    P(l) = ∫ φ_l(s) Π_{j≠l} Φ_j(s) ds, on a grid of each Gaussian's own quantile range and normalised. Sampling from it
    is Thompson sampling, and the probability is known rather than estimated by drawing.

    Examples
    --------
    >>> probability_of_best(np.array([0.0, 0.0]), np.array([1.0, 1.0])).round(3)
    array([0.5, 0.5])
    """
    spread = np.maximum(stds, _MIN_STD)
    steps = np.linspace(-_GRID_REACH, _GRID_REACH, _GRID)
    density = np.exp(-0.5 * steps**2)
    points = means[:, None] + spread[:, None] * steps
    log_cdf = np.log(_normal_cdf((points[:, :, None] - means) / spread))
    others = log_cdf.sum(axis=2) - np.einsum("igi->ig", log_cdf)
    weights = (density * np.exp(others)).sum(axis=1)
    total = weights.sum()
    if not total > 0:
        return certain(int(np.argmax(means)), len(means))
    result: NDArray[np.float64] = weights / total
    return result


def _normal_cdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # Abramowitz & Stegun 26.2.17, |error| < 7.5e-8: NumPy has no erf, and SciPy is not worth depending on for one.
    t = 1.0 / (1.0 + 0.2316419 * np.abs(x))
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    upper = np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi) * series
    cdf: NDArray[np.float64] = np.clip(np.where(x >= 0, 1.0 - upper, upper), 1e-300, 1.0)
    return cdf


class ThompsonPolicy:
    """Choose each candidate with the probability that its score is the best.

    Parameters
    ----------
    scale
        Multiplies the standard deviations, > 0; above 1 explores more, below 1 less.
    bounds
        Which candidates may be explored; the others have probability 0.
    """

    name = "thompson"

    def __init__(self, *, scale: float = 1.0, bounds: ExplorationBounds | None = None) -> None:
        self.scale = positive("scale", scale)
        self.bounds = bounds or ExplorationBounds()

    def propensities(
        self, *, scores: NDArray[np.float64], stds: NDArray[np.float64], forecasts: Sequence[Forecast]
    ) -> NDArray[np.float64]:
        """Return the probability of each candidate, shape (K,)."""
        allowed = np.flatnonzero(self.bounds.allowed(scores=scores, forecasts=forecasts))
        propensities = np.zeros(len(scores))
        propensities[allowed] = probability_of_best(scores[allowed], self.scale * stds[allowed])
        return propensities
