"""The trained projection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mixllm.errors import InvalidValueError
from mixllm.tags import LinearProjection

RNG = np.random.default_rng(2)
W = RNG.normal(size=(2, 4)).astype(np.float32)
C = RNG.normal(size=4).astype(np.float32)
X = RNG.normal(size=(5, 6)).astype(np.float32)


def projection(**changed: Any) -> LinearProjection:
    return LinearProjection(**{"matrix": W, "centre": C, "unit": False, **changed})


def test_parameters_reach_their_attributes() -> None:
    made = projection(unit=True)
    assert np.array_equal(made.matrix, W)
    assert np.array_equal(made.centre, C)
    assert (made.unit, made.dimension) == (True, 2)


@pytest.mark.parametrize("unit", [False, True])
def test_by_hand(unit: bool) -> None:
    """W(x − c) on the leading block of unit length; what is behind that block does not count."""
    made = projection(unit=unit)
    for x in X:
        expected = W @ (x[:4] / np.linalg.norm(x[:4]) - C)
        expected = expected / np.linalg.norm(expected) if unit else expected
        assert made.project(x) == pytest.approx(expected, abs=1e-5)
        assert made.project(x[:4]) == pytest.approx(expected, abs=1e-5)
    assert made.project(X) == pytest.approx(np.array([made.project(x) for x in X]), abs=1e-5)
    assert made.project(X).dtype == np.float32


def test_what_is_projected_to_nothing_stays_nothing() -> None:
    made = projection(matrix=np.zeros((2, 4)), unit=True)
    assert made.project(X[0]).tolist() == [0.0, 0.0]
    assert not made.project(X).any()


def test_the_fingerprint_tells_projections_apart() -> None:
    others = [projection(matrix=W * 2), projection(centre=C * 2), projection(unit=True)]
    assert projection().fingerprint == projection().fingerprint
    assert len({projection().fingerprint, *(other.fingerprint for other in others)}) == 4


@pytest.mark.parametrize(
    ("parameter", "changed"),
    [
        ("matrix", {"matrix": W[0]}),
        ("matrix", {"matrix": W[:0]}),
        ("matrix", {"matrix": W * np.nan}),
        ("centre", {"centre": C[:3]}),
        ("centre", {"centre": C * np.inf}),
    ],
)
def test_what_does_not_fit_is_refused(parameter: str, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=f"^{parameter} must be"):
        projection(**changed)


def test_an_encoding_that_is_too_short_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="dimensions must be between 1 and 3"):
        projection().project(np.ones(3))
