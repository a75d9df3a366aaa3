"""Predicted against observed means, in bins of queries that are predicted alike."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.learning.offline.calibration_values import Reliability, ReliabilityBin
from mixllm.learning.offline.outcomes import known_rows

__all__ = ["equal_mass_bins", "is_binary", "noise_variance", "reliability"]

_CERTAIN = 0.01
"""No 0/1 outcome is taken to be surer than this, so that a bin of successes alone has some noise."""


def reliability(predicted: FloatArray, observed: FloatArray, *, bins: int = 10) -> Reliability:
    """Compare predicted with observed means in bins of equal mass.

    Parameters
    ----------
    predicted, observed
        Shape (n,); rows with an unknown (NaN) outcome are left out.
    bins
        Number of bins, at most; equal predictions are never split.

    Examples
    --------
    >>> table = reliability(np.array([0.2, 0.2, 0.8, 0.8]), np.array([0.0, 1.0, 1.0, 1.0]), bins=2)
    >>> [(part.rows, part.predicted, part.observed) for part in table.bins]
    [(2, 0.2, 0.5), (2, 0.8, 1.0)]
    >>> round(table.ece, 3)
    0.25
    """
    if bins < 1:
        raise InvalidValueError("bins", bins, ">= 1")
    means, outcomes = known_rows("observed", observed, predicted=predicted)
    parts = []
    for part in equal_mass_bins(means, bins=bins):
        scatter = noise_variance(means[part], outcomes[part], binary=is_binary(outcomes))
        parts.append(
            ReliabilityBin(
                rows=len(part),
                predicted=float(means[part].mean()),
                observed=float(outcomes[part].mean()),
                observed_se=math.sqrt(scatter / len(part)),
            )
        )
    shares = [part.rows / len(means) for part in parts]
    errors = [share * abs(part.predicted - part.observed) for share, part in zip(shares, parts, strict=True)]
    noises = [share * part.observed_se for share, part in zip(shares, parts, strict=True)]
    return Reliability(
        rows=len(means),
        bins=tuple(parts),
        ece=math.fsum(errors),
        ece_from_noise=math.sqrt(2 / math.pi) * math.fsum(noises),
    )


def equal_mass_bins(predicted: FloatArray, *, bins: int) -> list[NDArray[np.intp]]:
    """Return the indices of each bin: `bins` of about the same size, in rising order of `predicted`, shape (n,).

    Equal predictions are kept together, or a bin's mean outcome would depend on the order of the rows; there may be
    fewer bins then.
    """
    order = np.argsort(predicted, kind="stable")
    ordered = np.asarray(predicted)[order]
    cuts = np.round(np.linspace(0, len(order), bins + 1)).astype(np.intp)[1:-1]
    # A cut within a run of equal predictions moves to the nearer end of the run.
    first = np.searchsorted(ordered, ordered[np.minimum(cuts, len(order) - 1)], side="left")
    last = np.searchsorted(ordered, ordered[np.minimum(cuts, len(order) - 1)], side="right")
    cuts = np.where(cuts - first <= last - cuts, first, last)
    return [part for part in np.split(order, np.unique(cuts)) if len(part)]


def noise_variance(means: NDArray[np.float64], outcomes: NDArray[np.float64], *, binary: bool) -> float:
    """Return the variance of single outcomes around their means: p(1 − p) where binary, else that of the residuals."""
    if binary:
        chance = np.clip(means, _CERTAIN, 1.0 - _CERTAIN)
        return float((chance * (1.0 - chance)).mean())
    return float((outcomes - means).var(ddof=1)) if len(outcomes) > 1 else 0.0


def is_binary(outcomes: NDArray[np.float64]) -> bool:
    """Return whether every outcome is 0 or 1."""
    return bool(((outcomes == 0.0) | (outcomes == 1.0)).all())
