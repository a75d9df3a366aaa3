"""What calibration finds, as value objects and as rows of a table."""

from __future__ import annotations

from mixllm.types import Value

__all__ = [
    "BinnedCoverage",
    "Coverage",
    "CoverageTable",
    "IntervalScale",
    "Reliability",
    "ReliabilityBin",
    "Row",
    "value_row",
]

Row = dict[str, str | int | float]
"""One row of a table of a report, JSON-ready."""


def value_row(value: Value) -> Row:
    """Return the fields of a flat `value` by name."""
    return {field: getattr(value, field) for field in value.__struct_fields__}


class ReliabilityBin(Value, frozen=True, kw_only=True):
    """Queries of about the same predicted mean.

    Parameters
    ----------
    rows
        Their number.
    predicted, observed
        Mean prediction and mean outcome.
    observed_se
        Standard error of the mean outcome around the predictions.
    """

    rows: int
    predicted: float
    observed: float
    observed_se: float


class Reliability(Value, frozen=True, kw_only=True):
    """Predicted against observed means.

    Parameters
    ----------
    rows
        Number of outcomes.
    bins
        In rising order of the prediction.
    ece
        Expected calibration error, Σ (n_b/n) |predicted − observed|.
    ece_from_noise
        The ece to expect of a perfect predictor in bins of this size, Σ (n_b/n) sqrt(2/π) se_b: an ece that is not
        above it shows nothing.
    """

    rows: int
    bins: tuple[ReliabilityBin, ...]
    ece: float
    ece_from_noise: float

    def as_rows(self) -> list[Row]:
        """Return the bins as rows of a table."""
        return [value_row(part) for part in self.bins]


class Coverage(Value, frozen=True, kw_only=True):
    """How often an interval held the outcome.

    Parameters
    ----------
    level
        What the interval claims, e.g. 0.9.
    rows
        Number of outcomes.
    covered, covered_se
        Share inside, and the standard error that it has where the claim is true and outcomes are independent.
    below, above
        Share under the lower and over the upper bound.
    mean_width
        Of the intervals: coverage is cheap where they are wide.
    """

    level: float
    rows: int
    covered: float
    covered_se: float
    below: float
    above: float
    mean_width: float


class BinnedCoverage(Value, frozen=True, kw_only=True):
    """How often the interval for the mean of a bin held its observed mean.

    Parameters
    ----------
    level
        What the interval claims.
    rows, bins
        Number of outcomes, and of bins.
    covered, covered_se
        Share of bins inside where the errors of a bin's predictions are taken to move together (see
        `binned_coverage`), and the standard error that it has where the claim is true.
    covered_if_independent
        Share of bins inside where they are taken to be independent.
    covered_by_noise
        Share of bins inside where the stds are taken to be 0: only where it is below `level` have the stds been put to
        the test at all.
    mean_width
        Of the intervals behind `covered`.
    """

    level: float
    rows: int
    bins: int
    covered: float
    covered_se: float
    covered_if_independent: float
    covered_by_noise: float
    mean_width: float


class CoverageTable(Value, frozen=True, kw_only=True):
    """Coverage of each LLM's intervals of one target.

    Parameters
    ----------
    target
        What is predicted, e.g. ``quality`` or ``cost_usd``.
    llms
        Names of the LLMs that have enough outcomes.
    coverages
        Of each of them.
    """

    target: str
    llms: tuple[str, ...]
    coverages: tuple[Coverage | BinnedCoverage, ...]

    def as_rows(self) -> list[Row]:
        """Return one row per LLM."""
        rows: list[Row] = []
        for llm, covered in zip(self.llms, self.coverages, strict=True):
            rows.append({"target": self.target, "llm": llm, **value_row(covered)})
        return rows


class IntervalScale(Value, frozen=True, kw_only=True):
    """By how much standard deviations are to be multiplied.

    Parameters
    ----------
    level
        The coverage that the intervals then have.
    rows
        Number of residuals (or bins) that it was fitted on.
    half_width_per_std
        Half the interval over the stated std: mean ± half_width_per_std · std covers.
    std_factor
        The same over the normal quantile of `level`: stds times this factor are honest at `level`. Above 1: the stated
        stds are too small.
    """

    level: float
    rows: int
    half_width_per_std: float
    std_factor: float
