"""Coverage of the mean quality of like queries: honest stds pass, too small and too large ones are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.learning.offline import (
    BinnedCoverage,
    binned_coverage,
    mean_interval_scale,
    quality_coverage_by_llm,
)

Array = NDArray[np.float64]


def simulated(error_std: float, *, rows: int = 60_000, binary: bool = True, seed: int = 0) -> tuple[Array, Array]:
    """Predictions whose errors move together within stretches of 1,000 like queries, and outcomes."""
    rng = np.random.default_rng(seed)
    predicted = np.sort(rng.uniform(0.25, 0.75, rows))
    truth = predicted + np.repeat(rng.normal(0, error_std, rows // 1_000), 1_000)
    if binary:
        return predicted, (rng.random(rows) < truth).astype(np.float64)
    return predicted, truth + rng.normal(0, 0.1, rows)


@pytest.mark.parametrize("binary", [True, False])
def test_honest_stds_cover_their_level(binary: bool) -> None:
    predicted, observed = simulated(0.05, binary=binary, rows=200_000)
    found = binned_coverage(predicted, np.full(200_000, 0.05), observed, min_bin_rows=1_000)
    assert found.bins == 200
    assert found.covered == pytest.approx(0.9, abs=3 * found.covered_se)
    assert found.covered_by_noise <= found.covered_if_independent < 0.8


def test_stds_that_are_too_small_or_too_large_are_told_apart() -> None:
    predicted, observed = simulated(0.05)
    small, large = (
        binned_coverage(predicted, np.full(60_000, std), observed, min_bin_rows=1_000) for std in (0.01, 0.5)
    )
    assert small.covered < 0.75
    assert large.covered == 1.0
    assert large.mean_width > 1.0


def test_a_perfect_predictor_passes_without_any_std() -> None:
    """The noise of 50 outcomes belongs into the interval."""
    predicted, observed = simulated(0.0)
    found = binned_coverage(predicted, np.zeros(60_000), observed)
    assert found.bins == 1_200
    assert found.covered == found.covered_if_independent == found.covered_by_noise
    assert found.covered == pytest.approx(0.9, abs=3.5 * found.covered_se)


def test_coverage_is_ordered_by_what_is_counted() -> None:
    predicted, observed = simulated(0.03, seed=4)
    found = binned_coverage(predicted, np.full(60_000, 0.03), observed, min_bin_rows=300)
    assert found.covered_by_noise <= found.covered_if_independent <= found.covered


def test_single_outcomes_would_prove_nothing_where_means_do() -> None:
    """A predictor that is wrong by 0.2 everywhere: intervals of single 0/1 outcomes hold all the same."""
    predicted, observed = simulated(0.0)
    wrong = predicted + 0.2
    spread = np.sqrt(0.25 + 0.01**2)
    assert (np.abs(observed - wrong) <= 1.645 * spread).mean() > 0.9
    assert binned_coverage(wrong, np.full(60_000, 0.01), observed).covered < 0.3


def test_equal_predictions_are_one_bin_and_small_bins_are_merged() -> None:
    observed = np.tile([0.0, 1.0], 60)
    found = binned_coverage(np.full(120, 0.5), np.zeros(120), observed)
    assert (found.bins, found.rows, found.covered) == (1, 120, 1.0)
    predicted = np.concatenate([np.full(10, 0.1), np.full(100, 0.5), np.full(10, 0.9)])
    assert binned_coverage(predicted, np.zeros(120), observed).bins == 1
    gaps = observed.copy()
    gaps[:20] = np.nan
    assert binned_coverage(np.linspace(0, 1, 120), np.zeros(120), gaps).rows == 100


def test_the_scale_makes_the_stds_honest() -> None:
    predicted, observed = simulated(0.06, rows=400_000)
    stds = np.full(400_000, 0.02)
    half = np.arange(400_000) % 2 == 0
    scale = mean_interval_scale(predicted[half], stds[half], observed[half], min_bin_rows=500)
    assert scale.std_factor == pytest.approx(3.0, rel=0.2)
    fixed = binned_coverage(predicted[half], scale.std_factor * stds[half], observed[half], min_bin_rows=500)
    assert fixed.covered >= 0.9
    assert fixed.covered == pytest.approx(0.9, abs=0.01)


def test_the_scale_is_zero_where_noise_explains_everything() -> None:
    predicted = np.linspace(0.4, 0.6, 1_000)
    observed = np.tile([0.0, 1.0], 500)
    assert mean_interval_scale(predicted, np.full(1_000, 0.1), observed).std_factor == 0.0


def test_by_llm_leaves_out_those_with_less_than_a_bin() -> None:
    predicted, observed = simulated(0.0, rows=2_000)
    outcomes = np.stack([observed, np.full(2_000, np.nan), observed], axis=1)
    outcomes[49:, 2] = np.nan
    table = quality_coverage_by_llm(
        np.tile(predicted[:, None], (1, 3)), np.full((2_000, 3), 0.05), outcomes, llms=["a", "b", "c"]
    )
    assert table.llms == ("a",)
    (found,) = table.coverages
    assert isinstance(found, BinnedCoverage)
    assert table.as_rows()[0]["target"] == "quality"
    assert table.as_rows()[0]["covered"] == found.covered


def test_bad_input_is_refused() -> None:
    ones = np.ones(60)
    with pytest.raises(InvalidValueError, match="at least 50, one bin"):
        binned_coverage(ones[:49], ones[:49], ones[:49])
    with pytest.raises(InvalidValueError, match="min_bin_rows must be >= 2"):
        binned_coverage(ones, ones, ones, min_bin_rows=1)
    with pytest.raises(InvalidValueError, match="stds must be >= 0"):
        binned_coverage(ones, -ones, ones)
    with pytest.raises(InvalidValueError, match="stds must be an array of shape"):
        binned_coverage(ones, ones[1:], ones)
    with pytest.raises(InvalidValueError, match="level must be above 0"):
        binned_coverage(ones, ones, ones, level=1.0)
    with pytest.raises(InvalidValueError, match="bins must be at least 9 for this level"):
        mean_interval_scale(ones, ones, ones)
    with pytest.raises(InvalidValueError, match="stds must be > 0"):
        mean_interval_scale(ones, 0 * ones, ones)
    with pytest.raises(InvalidValueError, match="predicted must be an array of shape"):
        quality_coverage_by_llm(ones, np.ones((60, 1)), np.ones((60, 1)), llms=["a"])
