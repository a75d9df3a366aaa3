"""The table of token vectors, and the mean of some of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import EncoderError

__all__ = ["TokenTable"]


@final
class TokenTable:
    r"""Vectors of tokens, with optional weights of tokens and an optional map from tokens to rows.

    Parameters
    ----------
    table
        Vectors, shape (R, d), of a real type; kept as a float32 copy.
    token_weights
        Weight of each token, shape (V,); None weighs all alike.
    token_rows
        Row of each token, shape (V,), where several tokens share one; None: the row of token i is i, and V = R.

    Attributes
    ----------
    dimension
        Length d of the vectors.
    tokens
        Number V of tokens that have a vector.

    Raises
    ------
    EncoderError
        Where a shape or a type does not fit, a value is NaN or infinite in float32, or a row is not in the table.
    """

    __slots__ = ("_rows", "_table", "_weights", "dimension", "tokens")

    def __init__(
        self, *, table: NDArray[Any], token_weights: NDArray[Any] | None = None, token_rows: NDArray[Any] | None = None
    ) -> None:
        self._table = _real("table", table, dimensions=2)
        rows, dimension = self._table.shape
        self.dimension: int = dimension
        self._rows = None if token_rows is None else _row_numbers(token_rows, rows=rows)
        self.tokens: int = rows if self._rows is None else len(self._rows)
        self._weights = None if token_weights is None else _real("token_weights", token_weights, dimensions=1)
        if self._weights is not None and len(self._weights) != self.tokens:
            raise EncoderError(
                f"token_weights has {len(self._weights)} weights for {self.tokens} tokens. Give one weight per token."
            )

    def mean(self, ids: Sequence[int]) -> NDArray[np.float64]:
        r"""Return :math:`\frac{1}{n} \sum_i w_i v_i` over the tokens `ids`, shape (d,); `ids` must not be empty.

        The sum is not divided by the weights' own: with weights this is model2vec's mean. It is accumulated in
        float64, so that the length of a text costs no precision.
        """
        tokens = np.array(ids, dtype=np.intp)
        vectors = self._table.take(tokens if self._rows is None else self._rows.take(tokens), axis=0)
        if self._weights is not None:
            vectors *= self._weights.take(tokens)[:, np.newaxis]
        total: NDArray[np.float64] = np.add.reduce(vectors, axis=0, dtype=np.float64)
        total /= len(ids)
        return total


def _real(name: str, values: NDArray[Any], *, dimensions: int) -> NDArray[np.float32]:
    """Return a read-only float32 copy of `values` in C order, or raise `EncoderError`."""
    array = np.asarray(values)
    if array.ndim != dimensions or array.size == 0:
        raise EncoderError(
            f"{name} has the shape {array.shape}; it needs {dimensions} dimension{'s' * (dimensions > 1)}, none of "
            "them empty. Give the table of token vectors itself, one row a token."
        )
    if array.dtype.kind not in "fiu":
        raise EncoderError(f"{name} holds {array.dtype}; it must hold real numbers. Save it as float16 or float32.")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused right below
        copy = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(copy).all():
        raise EncoderError(f"{name} holds NaN or infinite values in float32; the file is damaged. Get it anew.")
    copy.setflags(write=False)
    return copy


def _row_numbers(token_rows: NDArray[Any], *, rows: int) -> NDArray[np.intp]:
    array = np.asarray(token_rows)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise EncoderError(
            f"token_rows has the shape {array.shape} and holds {array.dtype}; it must be one row number per token."
        )
    if array.min() < 0 or array.max() >= rows:
        raise EncoderError(
            f"token_rows points to rows from {array.min()} to {array.max()}, the table has rows 0 to {rows - 1}. "
            "Use the mapping and the embeddings of one and the same model."
        )
    copy = np.array(array, dtype=np.intp)
    copy.setflags(write=False)
    return copy
