"""Probability matching: each candidate is chosen as often as it is believed to be the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.decision.bounds import ExplorationBounds
from mixllm.decision.forecasts import Forecasts
from mixllm.decision.greedy import certain
from mixllm.types import Forecast
from mixllm.units import non_negative, positive

__all__ = ["ThompsonPolicy", "probability_of_best"]

_SQRT_2 = math.sqrt(2.0)
_STEPS = np.linspace(-5.0, 5.0, 33)
_MIN_STD = 1e-9
_MAX_STD = 1e200
"""Beyond it, sums and ratios would not be finite."""


def probability_of_best(means: NDArray[np.float64], stds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability that each of K independent Gaussians is the largest, shape (K,).

    Notes
    -----
    P(l) = ∫ Π_{j≠l} Φ_j(s) dΦ_l(s), summed over the points of a grid over ±5 standard deviations of every Gaussian, so
    that the narrowest and the widest are both resolved; right to about 0.003. Sampling from it is Thompson sampling,
    and the probability is known rather than estimated by drawing. Standard deviations below a billionth of the largest
    mean (or of 1) count as that, and so do those above 1e200. A Gaussian that ends, at 5 standard deviations, below
    where another begins has probability 0: of a pool, few come into question for a query, and the time grows with the
    square of their number.

    Examples
    --------
    >>> probability_of_best(np.array([0.0, 0.0]), np.array([1.0, 1.0])).round(3)
    array([0.5, 0.5])
    """
    largest = max(1.0, *map(abs, means.tolist()))
    spread = np.minimum(np.maximum(stds, _MIN_STD * largest), _MAX_STD)
    reach = _STEPS[-1] * spread
    likely = np.flatnonzero(means + reach >= (means - reach).max())
    probabilities = np.zeros(len(means))
    probabilities[likely] = _of_likely(means[likely], spread[likely])
    return probabilities


def _of_likely(means: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(means) == 1:
        return np.ones(1)
    if len(means) == 2:
        return _of_two(*means.tolist(), *spread.tolist())
    points = np.sort((means[:, None] + spread[:, None] * _STEPS).ravel())
    places = points[:, None] - means
    places /= spread
    # Function by function: NumPy's conveniences (clip, diff, prod) take longer than the work at this size.
    np.maximum(places, -_REACH, out=places)
    np.minimum(places, _REACH, out=places)
    places += _REACH
    places *= _PER_STD
    cdf = _CDF.take(np.rint(places, out=places).astype(np.intp))
    others = np.multiply.reduce(cdf, axis=1, keepdims=True) / cdf
    steps = np.maximum(cdf[1:] - cdf[:-1], 0.0)
    steps *= others[1:] + others[:-1]
    weights = np.add.reduce(steps, axis=0)
    total = float(np.add.reduce(weights))
    if not total > 0:
        return certain(int(np.argmax(means)), len(means))
    result: NDArray[np.float64] = weights / total
    return result


def _of_two(mean: float, other: float, std: float, other_std: float) -> NDArray[np.float64]:
    # The difference of two Gaussians is one: no sum is needed, and most queries have no third to think of.
    far = (mean - other) / math.hypot(std, other_std)
    return np.array([0.5 * math.erfc(-far / _SQRT_2), 0.5 * math.erfc(far / _SQRT_2)])


def _normal_cdf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # Abramowitz & Stegun 26.2.17, |error| < 7.5e-8: NumPy has no erf, and SciPy is not worth depending on for one.
    t = 1.0 / (1.0 + 0.2316419 * np.abs(x))
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    upper = np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi) * series
    cdf: NDArray[np.float64] = np.clip(np.where(x >= 0, 1.0 - upper, upper), 1e-300, 1.0)
    return cdf


_REACH = 8.0
_PER_STD = 512
_CDF = _normal_cdf(np.linspace(-_REACH, _REACH, int(2 * _REACH * _PER_STD) + 1))
"""Φ at 512 points a standard deviation: the nearest is right to 0.0004, in a third of the time of computing it."""


class ThompsonPolicy:
    """Choose each candidate with the probability that its score is the best.

    Parameters
    ----------
    scale
        Multiplies the standard deviations, > 0; above 1 explores more, below 1 less.
    early_scale
        Multiplies those of a candidate that was never judged, where it is above `scale`, > 0.
    early_judgements
        Judgements of a candidate after which 1/e of what it is above `scale` is left, >= 0; 0: `scale` from the start.
    bounds
        Which candidates may be explored; the others have probability 0.

    Notes
    -----
    scale_l = scale + max(0, early_scale − scale) · exp(−n_l/early_judgements) with n_l the candidate's judgements: a
    small scale alone never goes back to a candidate whose first few judgements were unlucky.
    """

    name = "thompson"

    def __init__(
        self,
        *,
        scale: float = 1.0,
        early_scale: float = 1.0,
        early_judgements: float = 0.0,
        bounds: ExplorationBounds | None = None,
    ) -> None:
        self.scale = positive("scale", scale)
        self.early_scale = positive("early_scale", early_scale)
        self.early_judgements = non_negative("early_judgements", early_judgements)
        self.bounds = bounds or ExplorationBounds()

    def propensities(
        self, *, scores: NDArray[np.float64], stds: NDArray[np.float64], forecasts: Sequence[Forecast]
    ) -> NDArray[np.float64]:
        """Return the probability of each candidate, shape (K,)."""
        forecasts = Forecasts.of(forecasts)
        if self.bounds.none:
            return probability_of_best(scores, self._scales(forecasts.judgements) * stds)
        allowed = np.flatnonzero(self.bounds.allowed(scores=scores, forecasts=forecasts))
        propensities = np.zeros(len(scores))
        spread = self._scales(forecasts.judgements[allowed]) * stds[allowed]
        propensities[allowed] = probability_of_best(scores[allowed], spread)
        return propensities

    def _scales(self, judgements: NDArray[np.float64]) -> NDArray[np.float64] | float:
        more = self.early_scale - self.scale
        if more <= 0 or self.early_judgements == 0:
            return self.scale
        scales: NDArray[np.float64] = self.scale + more * np.exp(-judgements / self.early_judgements)
        return scales
