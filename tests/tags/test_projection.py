"""The truncated projection."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.tags import TruncatedProjection

CENTRE = np.array([0.5, -0.5, 0.25, 0.0], np.float32)


def test_parameters_reach_their_attributes() -> None:
    projection = TruncatedProjection(centre=CENTRE, dimension=3)
    assert projection.dimension == 3
    assert np.array_equal(projection.centre, CENTRE)


def test_by_hand() -> None:
    x = np.array([3.5, 3.5, 9.0, 9.0])
    assert TruncatedProjection(centre=CENTRE, dimension=2).project(x) == pytest.approx([0.6, 0.8])
    assert TruncatedProjection(centre=CENTRE, dimension=2).project(CENTRE).tolist() == [0.0, 0.0]


@given(arrays(np.float32, 4, elements=st.floats(-1e3, 1e3, width=32)), st.integers(1, 4))
def test_results_have_unit_norm_or_are_zero(x: NDArray[np.float32], dimension: int) -> None:
    kept = x.copy()
    projected = TruncatedProjection(centre=CENTRE, dimension=dimension).project(x)
    assert projected.shape == (dimension,)
    assert projected.dtype == np.float32
    assert np.linalg.norm(projected) == pytest.approx(1.0, abs=1e-5) or not projected.any()
    assert np.array_equal(x, kept)


def test_the_fingerprint_tells_projections_apart() -> None:
    prints = {
        TruncatedProjection(centre=CENTRE, dimension=2).fingerprint,
        TruncatedProjection(centre=CENTRE, dimension=3).fingerprint,
        TruncatedProjection(centre=2 * CENTRE, dimension=2).fingerprint,
    }
    assert len(prints) == 3
    assert TruncatedProjection(centre=CENTRE.astype(np.float64), dimension=2).fingerprint in prints


def test_it_keeps_its_own_centre() -> None:
    given_array = CENTRE.copy()
    projection = TruncatedProjection(centre=given_array, dimension=2)
    before = projection.fingerprint
    given_array[:] = 9.0
    assert projection.fingerprint == before
    assert projection.project(np.array([3.5, 3.5, 0, 0])) == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("dimension", [0, -1, 5])
def test_a_dimension_out_of_range_is_refused(dimension: int) -> None:
    with pytest.raises(InvalidValueError, match="dimension must be between 1 and 4"):
        TruncatedProjection(centre=CENTRE, dimension=dimension)


@pytest.mark.parametrize("centre", [np.full(4, np.nan), np.ones((2, 2)), np.float64(1.0)])
def test_a_centre_that_is_none_is_refused(centre: NDArray[np.float64]) -> None:
    with pytest.raises(InvalidValueError, match="centre must be a vector of finite numbers"):
        TruncatedProjection(centre=centre, dimension=1)
