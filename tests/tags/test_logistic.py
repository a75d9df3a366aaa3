"""The distilled tagger."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.tags import LogisticTagger

A = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
B = np.array([0.1, -0.2, 0.3], np.float32)


def tagger(**changed: Any) -> LogisticTagger:
    return LogisticTagger(
        **{"tags": ["x", "y", "z"], "weights": A, "bias": B, "leading": 3, "vocabulary": "v1", **changed}
    )


def test_parameters_reach_their_attributes() -> None:
    made = tagger()
    assert (made.tags, made.leading, made.vocabulary) == (("x", "y", "z"), 3, "v1")
    assert np.array_equal(made.weights, A)
    assert np.array_equal(made.bias, B)
    assert LogisticTagger(tags=["x"], weights=A[:1], bias=B[:1], leading=5).vocabulary == ""


def test_by_hand() -> None:
    """Softmax of A x + b, the first block of x of length 1."""
    x = np.array([0.3, -0.4, 0.2, 0.5, -0.1])
    logits = A @ (x / np.linalg.norm(x[:3])) + B
    expected = np.exp(logits) / np.exp(logits).sum()
    assert tagger().tag(x) == pytest.approx(expected, abs=1e-6)
    assert tagger(leading=5).tag(x) != pytest.approx(expected, abs=1e-3)


@given(arrays(np.float32, (4, 5), elements=st.floats(-1e3, 1e3, width=32)))
def test_any_encoding_gets_probabilities(x: NDArray[np.float32]) -> None:
    probabilities = tagger(weights=A * 100).tag(x)
    assert probabilities.shape == (4, 3)
    assert probabilities.dtype == np.float32
    assert np.isfinite(probabilities).all()
    assert probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    for row, together in zip(x, probabilities, strict=True):
        assert tagger(weights=A * 100).tag(row) == pytest.approx(together, abs=1e-3)


def test_a_query_without_a_token_has_what_the_bias_says() -> None:
    assert tagger().tag(np.zeros(5)) == pytest.approx(np.exp(B) / np.exp(B).sum(), abs=1e-6)


def test_the_fingerprint_tells_taggers_apart() -> None:
    others = [
        tagger(tags=["x", "y", "w"]),
        tagger(weights=A * 2),
        tagger(bias=B * 2),
        tagger(leading=4),
        tagger(vocabulary="v2"),
    ]
    assert tagger().fingerprint == tagger().fingerprint
    assert len({tagger().fingerprint, *(other.fingerprint for other in others)}) == 6


def test_it_keeps_its_own_weights() -> None:
    weights, bias = A.copy(), B.copy()
    made = tagger(weights=weights, bias=bias)
    before = made.tag(np.ones(5))
    weights[:] = 0
    bias[:] = 0
    assert np.array_equal(made.tag(np.ones(5)), before)


@pytest.mark.parametrize(
    ("parameter", "changed"),
    [
        ("tags", {"tags": []}),
        ("tags", {"tags": ["x", "y", "x"]}),
        ("weights", {"weights": A[:2]}),
        ("weights", {"weights": A[0]}),
        ("weights", {"weights": A * np.nan}),
        ("bias", {"bias": B[:2]}),
        ("bias", {"bias": B * np.inf}),
        ("leading", {"leading": 0}),
        ("leading", {"leading": 6}),
    ],
)
def test_what_does_not_fit_is_refused(parameter: str, changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=f"^{parameter} must be"):
        tagger(**changed)
