"""Whether forecasts mean what they say: reliability of means, coverage of intervals, and the scale that restores it.

Which coverage is honest depends on the target.

* **Continuous outcomes** (cost, tokens, latency): the interval is one for the single outcome, and `coverage` counts how
  often it holds. Its std has to count the scatter of single outcomes.
* **0/1 qualities**: a 90 % interval for the single outcome is [0, 1] nearly always and covers whatever the predictor
  does: it proves nothing. What the router claims is the *mean* quality of queries such as this one. So queries are
  sorted by predicted quality, cut into bins, and `binned_coverage` asks whether the interval for a bin's mean holds the
  bin's observed mean.

Everything here is to be given predictions of rows that the predictor has not learned from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.learning.offline.calibration_values import Coverage, CoverageTable, IntervalScale
from mixllm.learning.offline.outcomes import inside_unit, known_rows, llm_columns, normal_quantile

__all__ = ["coverage", "coverage_by_llm", "interval_scale", "scale_from"]


def coverage(lower: FloatArray, upper: FloatArray, observed: FloatArray, *, level: float = 0.9) -> Coverage:
    """Count how often [lower, upper] held the outcome, bounds included; for continuous outcomes.

    Parameters
    ----------
    lower, upper, observed
        Shape (n,); rows with an unknown (NaN) outcome are left out.
    level
        What the intervals claim; it is reported beside what they keep.

    Raises
    ------
    InvalidValueError
        Where shapes differ, nothing is known, a bound is not finite or they are crossed, or the level is not
        inside (0, 1).

    Examples
    --------
    >>> coverage(np.zeros(4), np.ones(4), np.array([0.5, 1.0, 1.5, -1.0])).covered
    0.5
    """
    inside_unit("level", level)
    outcomes, low, high = _known_with_bounds(lower, upper, observed)
    below, above = float((outcomes < low).mean()), float((outcomes > high).mean())
    covered = float(((outcomes >= low) & (outcomes <= high)).mean())
    return Coverage(
        level=level,
        rows=len(outcomes),
        covered=covered,
        covered_se=math.sqrt(level * (1.0 - level) / len(outcomes)),
        below=below,
        above=above,
        mean_width=float((high - low).mean()),
    )


def coverage_by_llm(
    lower: FloatArray,
    upper: FloatArray,
    observed: FloatArray,
    *,
    target: str,
    llms: Sequence[str],
    level: float = 0.9,
) -> CoverageTable:
    """Return `coverage` of each LLM; arrays of shape (n, K), outcomes NaN where not known.

    LLMs without any known outcome are left out.
    """
    outcomes = llm_columns("observed", observed, llms)
    columns = [column for column in range(len(llms)) if not np.isnan(outcomes[:, column]).all()]
    low, high = llm_columns("lower", lower, llms), llm_columns("upper", upper, llms)
    return CoverageTable(
        target=target,
        llms=tuple(llms[column] for column in columns),
        coverages=tuple(coverage(low[:, at], high[:, at], outcomes[:, at], level=level) for at in columns),
    )


def interval_scale(residuals: FloatArray, stds: FloatArray, *, level: float = 0.9) -> IntervalScale:
    """Return the factor by which stds of single outcomes give intervals that cover; fit it on out-of-fold predictions.

    Parameters
    ----------
    residuals
        Outcome minus prediction, shape (n,), of rows that the predictor has not learned from; NaN rows are left out.
    stds
        The std stated for each single outcome, > 0, shape (n,).
    level
        Coverage to reach, in (0, 1).

    Raises
    ------
    InvalidValueError
        Where shapes differ, a std is not above 0, or there are too few residuals for the level: level/(1 − level).

    Notes
    -----
    Split conformal prediction with normalised residuals: the half width per std is the ⌈(n + 1) level⌉-th smallest of
    |residual|/std. For exchangeable rows mean ± half_width_per_std · std then covers a new outcome with probability
    between level and level + 1/(n + 1), whatever the distribution, on average over queries (not for each
    kind of query). For 0/1 outcomes this is of little use: see `mean_interval_scale`.

    Examples
    --------
    >>> scale = interval_scale(np.arange(1.0, 20.0), np.ones(19))
    >>> scale.half_width_per_std
    18.0
    """
    inside_unit("level", level)
    errors, spreads = known_rows("residuals", residuals, stds=stds)[::-1]
    if (spreads <= 0).any():
        raise InvalidValueError("stds", float(spreads.min()), "> 0")
    return scale_from(np.abs(errors) / spreads, level=level, what="residuals")


def scale_from(ratios: NDArray[np.float64], *, level: float, what: str) -> IntervalScale:
    """Return the scale at the ⌈(n + 1) level⌉-th smallest of `ratios`, the half widths per std that each row needs."""
    rank = math.ceil(round((len(ratios) + 1) * level, 9))
    if rank > len(ratios):
        raise InvalidValueError(
            what, len(ratios), f"at least {math.ceil(round(level / (1 - level), 9))} for this level"
        )
    half_width = float(np.partition(ratios, rank - 1)[rank - 1])
    return IntervalScale(
        level=level, rows=len(ratios), half_width_per_std=half_width, std_factor=half_width / normal_quantile(level)
    )


def _known_with_bounds(lower: FloatArray, upper: FloatArray, observed: FloatArray) -> tuple[NDArray[np.float64], ...]:
    low, high, outcomes = known_rows("observed", observed, lower=lower, upper=upper)
    if (low > high).any():
        raise InvalidValueError("lower", "a bound above its upper bound", "at most upper")
    return outcomes, low, high
