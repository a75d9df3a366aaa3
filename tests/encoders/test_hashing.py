"""The double for tests: stable on every machine, near for similar texts."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.encoders import HashingEncoder
from mixllm.errors import InvalidValueError


def test_defaults() -> None:
    encoder = HashingEncoder()
    assert (encoder.dimension, encoder.seed) == (64, 0)


def test_parameters_reach_attributes_vectors_and_fingerprint() -> None:
    base, wide, seeded = HashingEncoder(), HashingEncoder(dimension=48), HashingEncoder(seed=9)
    assert (wide.dimension, seeded.seed) == (48, 9)
    assert len({base.fingerprint, wide.fingerprint, seeded.fingerprint}) == 3
    assert wide.encode("sort a list").shape == (48,)
    assert not np.array_equal(base.encode("sort a list"), seeded.encode("sort a list"))


@pytest.mark.parametrize(
    ("seed", "features"), [(0, [-1, 0, 0, 1, -1, 0, 1, -1]), (5, [0, 0, 0, 2, 0, -1, 0, 0])], ids=["seed 0", "seed 5"]
)
def test_vectors_never_change(seed: int, features: list[int]) -> None:
    expected = np.array(features) / np.linalg.norm(features)
    encoder = HashingEncoder(dimension=8, seed=seed)
    np.testing.assert_allclose(encoder.encode("Sort a list"), expected, atol=1e-7)
    np.testing.assert_array_equal(encoder.encode("sort  A\nlist"), encoder.encode("Sort a list"))


def test_vectors_do_not_depend_on_the_hash_seed_of_python() -> None:
    code = "from mixllm.encoders import HashingEncoder; print(HashingEncoder().encode('sort a list').tobytes().hex())"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert runs == [HashingEncoder().encode("sort a list").tobytes().hex()] * 2


def test_similar_texts_are_nearer_than_others() -> None:
    encoder = HashingEncoder(dimension=256)
    base = encoder.encode("write a python function that sorts a list")
    near = encoder.encode("write a python function that sorts a long list")
    far = encoder.encode("which painter lived in Delft?")
    assert base @ near > 0.6
    assert abs(base @ far) < 0.3


def test_order_of_words_counts() -> None:
    encoder = HashingEncoder(dimension=256)
    assert encoder.encode("dog bites man") @ encoder.encode("man bites dog") < 0.9


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u2003"])
def test_no_word_gives_zero(blank: str) -> None:
    assert not HashingEncoder().encode(blank).any()


@settings(derandomize=True, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=()), max_size=40), dimension=st.integers(1, 5))
def test_every_other_text_has_unit_length_even_where_features_cancel(text: str, dimension: int) -> None:
    vector = HashingEncoder(dimension=dimension).encode(text)
    expected = 0.0 if not text.strip() else 1.0
    assert np.linalg.norm(vector) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("dimension", 0),
        ("dimension", -4),
        ("dimension", True),
        ("dimension", 8.0),
        ("dimension", "8"),
        ("seed", -1),
        ("seed", 2**64),
        ("seed", None),
        ("seed", 0.5),
    ],
)
def test_bad_parameters_are_refused(parameter: str, value: object) -> None:
    bad: dict[str, Any] = {parameter: value}
    with pytest.raises(InvalidValueError) as caught:
        HashingEncoder(**bad)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("text", [None, 5, b"bytes", ["list"]])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(InvalidValueError):
        HashingEncoder().encode(text)


def test_one_string_is_no_batch() -> None:
    with pytest.raises(InvalidValueError, match="use encode for one"):
        HashingEncoder().encode_batch("sort")
