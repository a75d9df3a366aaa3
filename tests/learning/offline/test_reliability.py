"""Bins of equal mass, and what they say of predicted means."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError
from mixllm.learning.offline import equal_mass_bins, reliability


@given(
    values=st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.25, 0.5])), min_size=1, max_size=200),
    bins=st.integers(1, 30),
)
def test_bins_hold_every_row_once_in_order_and_split_no_ties(values: list[float], bins: int) -> None:
    predicted = np.array(values)
    parts = equal_mass_bins(predicted, bins=bins)
    assert 1 <= len(parts) <= bins
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(values)))
    for before, after in pairwise(parts):
        assert predicted[before].max() < predicted[after].min()


def test_bins_are_of_equal_mass_where_predictions_differ() -> None:
    sizes = [len(part) for part in equal_mass_bins(np.random.default_rng(0).random(1003), bins=10)]
    assert len(sizes) == 10
    assert max(sizes) - min(sizes) <= 1


def test_a_calibrated_predictor_has_no_more_error_than_noise() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(20_000)
    found = reliability(chance, (rng.random(20_000) < chance) * 1.0, bins=20)
    assert found.rows == 20_000
    assert len(found.bins) == 20
    assert found.ece == pytest.approx(found.ece_from_noise, rel=0.6)
    assert found.ece_from_noise < 0.012
    for part in found.bins:
        assert abs(part.observed - part.predicted) < 4 * part.observed_se


def test_a_shift_is_found_in_full() -> None:
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.3, 0.7, 20_000)
    found = reliability(chance + 0.2, (rng.random(20_000) < chance) * 1.0)
    assert found.ece == pytest.approx(0.2, abs=0.01)
    assert [part.predicted for part in found.bins] == sorted(part.predicted for part in found.bins)


def test_graded_outcomes_have_the_noise_of_their_residuals() -> None:
    rng = np.random.default_rng(2)
    means = rng.random(5_000)
    found = reliability(means, means + rng.normal(0, 0.01, 5_000), bins=5)
    assert [part.observed_se for part in found.bins] == pytest.approx([0.01 / 1_000**0.5] * 5, rel=0.1)


def test_one_bin_of_equal_predictions() -> None:
    found = reliability(np.full(6, 0.5), np.array([1, 1, 0, 0, 1, np.nan]), bins=3)
    assert found.as_rows() == [{"rows": 5, "predicted": 0.5, "observed": 0.6, "observed_se": pytest.approx(0.05**0.5)}]
    assert found.ece == pytest.approx(0.1)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="bins must be >= 1"):
        reliability(np.ones(3), np.ones(3), bins=0)
    with pytest.raises(InvalidValueError, match="predicted must be an array of shape"):
        reliability(np.ones(2), np.ones(3))
    with pytest.raises(InvalidValueError, match="predicted must be finite where the outcome is known"):
        reliability(np.array([np.nan, 1.0]), np.ones(2))
    with pytest.raises(InvalidValueError, match="observed must be an array of shape"):
        reliability(np.ones(0), np.ones(0))
