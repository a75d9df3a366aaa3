"""The table of token vectors: what it refuses, and the mean that it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.encoders.small_model import small_table

from mixllm.encoders.token_table import TokenTable
from mixllm.errors import EncoderError

TABLE = np.array([[1.0, 0.0], [0.0, 2.0], [4.0, 4.0]])


def test_the_mean_counts_every_occurrence() -> None:
    table = TokenTable(table=TABLE)
    assert (table.dimension, table.tokens) == (2, 3)
    np.testing.assert_array_equal(table.mean([0, 1, 1]), [1 / 3, 4 / 3])


def test_weights_multiply_and_do_not_divide() -> None:
    table = TokenTable(table=TABLE, token_weights=np.array([2.0, 0.5, 9.0]))
    np.testing.assert_array_equal(table.mean([0, 1]), [1.0, 0.5])


def test_rows_are_looked_up_by_token_and_so_are_weights() -> None:
    table = TokenTable(table=TABLE, token_weights=np.array([1.0, 1.0, 1.0, 3.0]), token_rows=np.array([2, 2, 0, 0]))
    assert table.tokens == 4
    np.testing.assert_array_equal(table.mean([0, 3]), [3.5, 2.0])


def test_a_long_text_costs_no_precision() -> None:
    table = TokenTable(table=np.array([[0.1, 1e6]]))
    expected = np.array([[0.1, 1e6]], dtype=np.float32)[0].astype(np.float64)
    np.testing.assert_allclose(table.mean([0] * 100_000), expected, rtol=1e-12)


def test_huge_values_do_not_overflow() -> None:
    table = TokenTable(table=np.full((2, 2), 3e38))
    assert np.isfinite(table.mean([0, 1] * 50)).all()


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int8", "uint8", ">f4"])
def test_any_real_type_is_taken(kind: str) -> None:
    table = TokenTable(table=TABLE.astype(kind))
    np.testing.assert_array_equal(table.mean([0, 2]), [2.5, 2.0])


def test_arrays_are_copied_and_not_changed() -> None:
    table, weights, rows = small_table(3), np.ones(3, dtype=np.float32), np.arange(3)
    before = table.copy(), weights.copy(), rows.copy()
    kept = TokenTable(table=table, token_weights=weights, token_rows=rows)
    mean = kept.mean([0, 1, 2])
    for array, old in zip((table, weights, rows), before, strict=True):
        np.testing.assert_array_equal(array, old)
    table[:], weights[:], rows[:] = 9.0, 9.0, 0
    np.testing.assert_array_equal(kept.mean([0, 1, 2]), mean)


def test_a_slice_out_of_order_is_taken() -> None:
    table = small_table(6)
    np.testing.assert_array_equal(TokenTable(table=table.T[::2]).mean([1]), table.T[2].astype(np.float64))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"table": np.zeros(3)}, r"table has the shape \(3,\)"),
        ({"table": np.zeros((1, 2, 3))}, "2 dimensions"),
        ({"table": np.zeros((0, 3))}, "none of them empty"),
        ({"table": np.zeros((3, 0))}, "none of them empty"),
        ({"table": np.zeros((2, 2), dtype=complex)}, "holds complex128"),
        ({"table": np.zeros((2, 2), dtype=bool)}, "holds bool"),
        ({"table": np.array([["a"]])}, "real numbers"),
        ({"table": np.array([[1.0, np.nan]])}, "NaN or infinite"),
        ({"table": np.array([[1.0, -np.inf]])}, "NaN or infinite"),
        ({"table": np.array([[1.0, 1e300]])}, "in float32"),
        ({"table": TABLE, "token_weights": np.ones(2)}, "2 weights for 3 tokens"),
        ({"table": TABLE, "token_weights": np.ones((3, 1))}, r"token_weights has the shape \(3, 1\)"),
        ({"table": TABLE, "token_weights": np.array([1.0, np.nan, 1.0])}, "token_weights holds NaN"),
        ({"table": TABLE, "token_rows": np.array([0, 3])}, "rows from 0 to 3, the table has rows 0 to 2"),
        ({"table": TABLE, "token_rows": np.array([-1, 0])}, "rows from -1"),
        ({"table": TABLE, "token_rows": np.array([0.0, 1.0])}, "holds float64"),
        ({"table": TABLE, "token_rows": np.array([[0]])}, r"shape \(1, 1\)"),
        ({"table": TABLE, "token_rows": np.array([], dtype=int)}, "one row number per token"),
    ],
)
def test_what_does_not_fit_is_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        TokenTable(**arrays)
