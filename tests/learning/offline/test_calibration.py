"""Coverage of intervals for single outcomes, and the conformal scale."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError
from mixllm.learning.offline import coverage, coverage_by_llm, interval_scale


def test_counts_what_is_inside_below_and_above() -> None:
    found = coverage(np.zeros(6), np.full(6, 2.0), np.array([0.0, 1.0, 2.0, -0.1, 2.1, np.nan]), level=0.8)
    assert (found.rows, found.level) == (5, 0.8)
    assert (found.covered, found.below, found.above) == pytest.approx((0.6, 0.2, 0.2))
    assert found.mean_width == 2.0
    assert found.covered_se == pytest.approx((0.8 * 0.2 / 5) ** 0.5)


def test_true_normal_intervals_cover_their_level() -> None:
    rng = np.random.default_rng(0)
    means, stds = rng.uniform(0, 5, 20_000), rng.uniform(0.1, 3, 20_000)
    z = NormalDist().inv_cdf(0.95)
    found = coverage(means - z * stds, means + z * stds, rng.normal(means, stds))
    assert found.covered == pytest.approx(0.9, abs=4 * found.covered_se)
    assert found.below == pytest.approx(0.05, abs=0.01)


def test_by_llm_leaves_out_those_without_outcomes() -> None:
    observed = np.array([[0.5, np.nan, 3.0], [0.7, np.nan, np.nan]])
    table = coverage_by_llm(
        np.zeros((2, 3)), np.ones((2, 3)), observed, target="cost_usd", llms=["a", "b", "c"], level=0.9
    )
    assert table.llms == ("a", "c")
    rows = table.as_rows()
    assert [(row["target"], row["llm"], row["rows"], row["covered"]) for row in rows] == [
        ("cost_usd", "a", 2, 1.0),
        ("cost_usd", "c", 1, 0.0),
    ]


@given(
    residuals=st.lists(st.floats(-100, 100), min_size=9, max_size=80),
    level=st.floats(0.05, 0.9),
)
def test_the_scaled_intervals_cover_what_they_were_fitted_on(residuals: list[float], level: float) -> None:
    errors = np.array(residuals)
    stds = np.linspace(0.5, 2.0, len(errors))
    scale = interval_scale(errors, stds, level=level)
    half = scale.half_width_per_std * stds
    slack = 1e-9 * (1 + half)
    assert coverage(-half - slack, half + slack, errors, level=level).covered >= level
    assert scale.std_factor == pytest.approx(scale.half_width_per_std / NormalDist().inv_cdf((1 + level) / 2))
    # Not wider than needed: with a little less, fewer than the level's share of the rows and one more are inside.
    inside = (np.abs(errors) / stds < scale.half_width_per_std * (1 - 1e-9)).sum()
    assert inside < (len(errors) + 1) * level


def test_the_scale_holds_on_new_rows_and_finds_the_factor() -> None:
    rng = np.random.default_rng(0)
    stds = rng.uniform(0.1, 3, 20_000)
    residuals = rng.normal(0, 2.0 * stds)
    scale = interval_scale(residuals[:10_000], stds[:10_000])
    assert scale.std_factor == pytest.approx(2.0, abs=0.06)
    half = scale.half_width_per_std * stds[10_000:]
    assert coverage(-half, half, residuals[10_000:]).covered == pytest.approx(0.9, abs=0.015)


def test_residuals_that_are_not_known_are_left_out() -> None:
    residuals = np.array([np.nan, *range(1, 20)], np.float64)
    scale = interval_scale(residuals, np.ones(20))
    assert (scale.rows, scale.half_width_per_std) == (19, 18.0)


@pytest.mark.parametrize(("level", "least"), [(0.9, 9), (0.95, 19), (0.5, 1), (0.99, 99)])
def test_a_level_needs_enough_rows(level: float, least: int) -> None:
    assert interval_scale(np.ones(least), np.ones(least), level=level).half_width_per_std == 1.0
    with pytest.raises(InvalidValueError, match=f"at least {least} for this level|at least one known"):
        interval_scale(np.ones(least - 1), np.ones(least - 1), level=level)


def test_bad_input_is_refused() -> None:
    ones = np.ones(20)
    nan, inf = np.full(20, np.nan), np.full(20, np.inf)
    for level in (0.0, 1.0, -0.5, 90.0, float("nan")):
        with pytest.raises(InvalidValueError, match="level must be above 0 and below 1"):
            coverage(ones, ones, ones, level=level)
        with pytest.raises(InvalidValueError, match="level must be above 0 and below 1"):
            interval_scale(ones, ones, level=level)
    for lower, upper, observed, words in (
        (ones, ones, nan, "at least one known number"),
        (nan, ones, ones, "lower must be finite"),
        (ones, inf, ones, "upper must be finite"),
        (2 * ones, ones, ones, "lower must be at most upper"),
        (ones[:-1], ones, ones, "lower must be an array of shape"),
        (ones, ones, ones[:, None], "observed must be an array of shape"),
        (ones, ones, inf, "observed must be finite"),
    ):
        with pytest.raises(InvalidValueError, match=words):
            coverage(lower, upper, observed)
    for stds in (0 * ones, -ones):
        with pytest.raises(InvalidValueError, match="stds must be > 0"):
            interval_scale(ones, stds)
    with pytest.raises(InvalidValueError, match="observed must be an array of shape"):
        coverage_by_llm(ones, ones, ones, target="cost_usd", llms=["a"])
