"""Encodings whose leading block is scaled to length 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.tags.unit_block import unit_block

Rows = NDArray[np.float32]
NUMBERS = st.floats(-10, 10, width=32).filter(lambda number: number == 0 or abs(number) > 1e-3)


@given(arrays(np.float32, (4, 5), elements=NUMBERS), st.integers(1, 5))
def test_the_leading_block_has_length_one(x: Rows, leading: int) -> None:
    scaled = unit_block(x, leading)
    assert scaled.dtype == np.float32
    for row, before in zip(scaled, x, strict=True):
        if not before[:leading].any():
            assert np.array_equal(row, before)
            continue
        assert np.linalg.norm(row[:leading]) == pytest.approx(1.0, abs=1e-5)
        assert row == pytest.approx(before / np.linalg.norm(before[:leading]), rel=1e-5)
        assert unit_block(before, leading) == pytest.approx(row, rel=1e-5)


def test_the_input_stays_as_it_was() -> None:
    x = np.array([[3.0, 4.0, 5.0]], np.float32)
    unit_block(x, 2)
    unit_block(x[0], 2)
    assert x.tolist() == [[3.0, 4.0, 5.0]]


@pytest.mark.parametrize("leading", [0, -1, 4])
def test_a_block_that_is_not_there_is_refused(leading: int) -> None:
    for x in (np.ones(3), np.ones((2, 3))):
        with pytest.raises(InvalidValueError, match="dimensions must be between 1 and 3"):
            unit_block(x, leading)
