"""Coverage of intervals for the mean outcome of like queries: the honest one for 0/1 qualities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.learning.offline.calibration import scale_from
from mixllm.learning.offline.calibration_values import BinnedCoverage, CoverageTable, IntervalScale
from mixllm.learning.offline.outcomes import known_rows, llm_columns, normal_quantile
from mixllm.learning.offline.reliability import equal_mass_bins, is_binary, noise_variance

__all__ = ["binned_coverage", "mean_interval_scale", "quality_coverage_by_llm"]

MIN_BIN_ROWS = 50


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Bins:
    """What every bin of `binned_coverage` has: error of the mean, stds and noise, each of shape (bins,)."""

    error: NDArray[np.float64]
    shared_variance: NDArray[np.float64]
    independent_variance: NDArray[np.float64]
    noise_variance: NDArray[np.float64]


def binned_coverage(
    predicted: FloatArray,
    stds: FloatArray,
    observed: FloatArray,
    *,
    level: float = 0.9,
    min_bin_rows: int = MIN_BIN_ROWS,
) -> BinnedCoverage:
    """Count how often the interval for the mean outcome of a bin of like queries held the observed one; for qualities.

    Parameters
    ----------
    predicted, stds
        Mean outcome that is expected of each query and the std of that *mean* (not of a single outcome), shape (n,).
    observed
        Outcomes, shape (n,); rows with an unknown (NaN) one are left out.
    level
        What the intervals claim.
    min_bin_rows
        Queries in a bin, at least; larger bins have less noise and test the stds more sharply.

    Raises
    ------
    InvalidValueError
        Where shapes differ, fewer outcomes than one bin are known, or a std is negative.

    Notes
    -----
    For a bin of n queries with mean prediction p̄ and mean outcome ȳ, the interval is p̄ ± z · sqrt(s² + v/n).

    * v is the scatter of single outcomes: p(1 − p), averaged over the bin, where all outcomes of the LLM are 0 or 1;
      else the variance of the residuals in the bin. It belongs in the interval, because ȳ of 50 queries is itself
      uncertain: without it a perfect predictor would fail.
    * s² is the uncertainty of p̄. A std says nothing of how the errors of two queries' predictions hang together. Like
      queries are predicted by the same weights, so that their errors move together, at the extreme fully: s is then
      the mean std. Were they independent, s² = mean(std²)/n, next to nothing. The truth is between, so both are
      given: honest stds have ``covered_if_independent <= level <= covered``, up to noise. The first well below and
      the second near `level` is what stds look like that are needed and right; both above it, and wide, what too
      large stds look like.
    """
    bins = _bins(predicted, stds, observed, min_bin_rows=min_bin_rows)
    quantile = normal_quantile(level)
    inside = {
        name: np.abs(bins.error) <= quantile * np.sqrt(variance + bins.noise_variance)
        for name, variance in (
            ("shared", bins.shared_variance),
            ("independent", bins.independent_variance),
            ("noise", np.zeros_like(bins.noise_variance)),
        )
    }
    covered = float(inside["shared"].mean())
    widths = 2 * quantile * np.sqrt(bins.shared_variance + bins.noise_variance)
    return BinnedCoverage(
        level=level,
        rows=int((~np.isnan(np.asarray(observed, np.float64))).sum()),
        bins=len(bins.error),
        covered=covered,
        covered_se=math.sqrt(level * (1.0 - level) / len(bins.error)),
        covered_if_independent=float(inside["independent"].mean()),
        covered_by_noise=float(inside["noise"].mean()),
        mean_width=float(widths.mean()),
    )


def quality_coverage_by_llm(
    predicted: FloatArray,
    stds: FloatArray,
    observed: FloatArray,
    *,
    llms: Sequence[str],
    level: float = 0.9,
    min_bin_rows: int = MIN_BIN_ROWS,
) -> CoverageTable:
    """Return `binned_coverage` of each LLM's quality; arrays of shape (n, K), outcomes NaN where not known.

    LLMs with fewer known outcomes than one bin are left out.
    """
    outcomes = llm_columns("observed", observed, llms)
    enough = (~np.isnan(outcomes)).sum(axis=0) >= min_bin_rows
    columns = [column for column in range(len(llms)) if enough[column]]
    means, spreads = llm_columns("predicted", predicted, llms), llm_columns("stds", stds, llms)
    return CoverageTable(
        target="quality",
        llms=tuple(llms[column] for column in columns),
        coverages=tuple(
            binned_coverage(means[:, at], spreads[:, at], outcomes[:, at], level=level, min_bin_rows=min_bin_rows)
            for at in columns
        ),
    )


def mean_interval_scale(
    predicted: FloatArray,
    stds: FloatArray,
    observed: FloatArray,
    *,
    level: float = 0.9,
    min_bin_rows: int = MIN_BIN_ROWS,
) -> IntervalScale:
    """Return the factor by which stds of *means* make `binned_coverage` reach `level`; for 0/1 qualities.

    Parameters as in `binned_coverage`. Every bin needs its std multiplied by sqrt(max(0, (error/z)² − v/n))/s; the
    factor is the ⌈(bins + 1) level⌉-th smallest of them: 0 where the noise of outcomes alone explains the errors.

    Raises
    ------
    InvalidValueError
        As `binned_coverage`; and where there are fewer bins than level/(1 − level), or a bin's stds are all 0.
    """
    quantile = normal_quantile(level)
    bins = _bins(predicted, stds, observed, min_bin_rows=min_bin_rows)
    if (bins.shared_variance <= 0).any():
        raise InvalidValueError("stds", 0.0, "> 0")
    excess = np.maximum(0.0, np.square(bins.error / quantile) - bins.noise_variance)
    return scale_from(quantile * np.sqrt(excess / bins.shared_variance), level=level, what="bins")


def _bins(predicted: FloatArray, stds: FloatArray, observed: FloatArray, *, min_bin_rows: int) -> _Bins:
    if min_bin_rows < 2:
        raise InvalidValueError("min_bin_rows", min_bin_rows, ">= 2")
    means, spreads, outcomes = known_rows("observed", observed, predicted=predicted, stds=stds)
    if (spreads < 0).any():
        raise InvalidValueError("stds", float(spreads.min()), ">= 0")
    if len(outcomes) < min_bin_rows:
        raise InvalidValueError("observed", f"{len(outcomes)} known outcomes", f"at least {min_bin_rows}, one bin")
    binary = is_binary(outcomes)
    parts = _merged(equal_mass_bins(means, bins=len(outcomes) // min_bin_rows), min_bin_rows=min_bin_rows)
    sizes = np.array([len(part) for part in parts])
    noise = np.array([noise_variance(means[part], outcomes[part], binary=binary) for part in parts])
    return _Bins(
        error=np.array([outcomes[part].mean() - means[part].mean() for part in parts]),
        shared_variance=np.array([spreads[part].mean() ** 2 for part in parts]),
        independent_variance=np.array([np.square(spreads[part]).mean() for part in parts]) / sizes,
        noise_variance=noise / sizes,
    )


def _merged(parts: Sequence[NDArray[np.intp]], *, min_bin_rows: int) -> list[NDArray[np.intp]]:
    # Runs of equal predictions and rounding leave bins that are too small: they join the one before.
    merged: list[NDArray[np.intp]] = []
    for part in parts:
        if merged and min(len(part), len(merged[-1])) < min_bin_rows:
            merged[-1] = np.concatenate([merged[-1], part])
        else:
            merged.append(part)
    return merged
