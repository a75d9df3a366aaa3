"""Surface features, and the encoder that puts them behind an encoding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.conformance.encoder import check_encoder
from mixllm.encoders import HashingEncoder, SurfaceEncoder
from mixllm.encoders.surface import SURFACE_FEATURES, surface_features
from mixllm.errors import InvalidValueError

BASE = HashingEncoder(dimension=24)


def looks(text: str) -> dict[str, float]:
    return dict(zip(SURFACE_FEATURES, surface_features(text).tolist(), strict=True))


def test_by_hand() -> None:
    text = "Which one?\nA. 12\nB. {3}\nOutput only the letter."
    size = len(text)
    assert looks(text) == pytest.approx(
        {
            "length": math.log(size / 800) / 2,
            "options": 2 / 5,
            "digits": 3 * math.sqrt(3 / size),
            "markup": 3 * math.sqrt(2 / size),
            "lines": math.log1p(3) / 3,
            "questions": 1 / 3,
            "brevity": 1.0,
            "words": (size / (6 + 3 + 1) - 6) / 2,
            "capitals": 3 * math.sqrt(4 / size),
        },
        abs=1e-6,
    )


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("Pick.\n(A) one\n(B) two", "options"),
        ("What is 12 + 30?", "digits"),
        ("def f(x): return x[0]", "markup"),
        ("Answer concisely: who was it", "brevity"),
        ("WHO WAS IT", "capitals"),
    ],
)
def test_each_form_is_seen(text: str, feature: str) -> None:
    assert looks(text)[feature] > looks("tell me of the sea")[feature]


def test_the_length_is_that_of_the_whole_text() -> None:
    assert looks("word " * 20_000)["length"] == pytest.approx(2.0)
    assert looks("word " * 2000)["length"] == pytest.approx(math.log(10_000 / 800) / 2)


@given(st.text(max_size=300))
def test_they_are_small_finite_numbers_whatever_the_text(text: str) -> None:
    features = surface_features(text)
    assert features.shape == (len(SURFACE_FEATURES),)
    assert np.isfinite(features).all()
    assert np.abs(features).max() <= 2.0


def test_lone_surrogates_do_no_harm() -> None:
    assert np.isfinite(surface_features("a\ud800b")).all()


def test_the_encoder_does_what_encoders_must() -> None:
    check_encoder(lambda: SurfaceEncoder(base=HashingEncoder(dimension=24)))


def test_both_parts_come_back() -> None:
    text = "How many are 3 and 4?"
    x = SurfaceEncoder(base=BASE).encode(text)
    apart = x / np.linalg.norm(x[: BASE.dimension])
    assert apart[: BASE.dimension] == pytest.approx(BASE.encode(text), abs=1e-6)
    assert apart[BASE.dimension :] == pytest.approx(surface_features(text), abs=1e-5)


def test_its_identity_is_not_that_of_the_base() -> None:
    made = SurfaceEncoder(base=BASE)
    assert made.base is BASE
    assert made.fingerprint == f"{BASE.fingerprint}+surface-1"
    assert made.dimension == BASE.dimension + len(SURFACE_FEATURES)


def test_surface_features_come_once() -> None:
    with pytest.raises(InvalidValueError, match="without surface features"):
        SurfaceEncoder(base=SurfaceEncoder(base=BASE))
