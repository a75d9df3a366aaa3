"""Encodings back in the scale that training saw: the leading block of unit length."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray

__all__ = ["unit_block"]


def unit_block(encodings: FloatArray, dimensions: int) -> NDArray[np.float32]:
    """Return `encodings`, shape (d,) or (n, d), scaled so that their first `dimensions` entries have length 1.

    A `mixllm.encoders.LexicalEncoder` scales its two blocks together; this undoes it. Where the leading block is 0, the
    encoding is left as it is.

    Raises
    ------
    InvalidValueError
        Where `dimensions` is not between 1 and d.

    Examples
    --------
    >>> unit_block(np.array([0.6, 0.0, 0.8]), 2).round(4)
    array([1.    , 0.    , 1.3333], dtype=float32)
    """
    x = np.asarray(encodings, np.float32)
    if not 1 <= dimensions <= x.shape[-1]:
        raise InvalidValueError("dimensions", dimensions, f"between 1 and {x.shape[-1]}")
    if x.ndim == 1:
        head = x[:dimensions]
        length = math.sqrt(float(head @ head))
        return x if length == 0 else x / np.float32(length)
    lengths = np.linalg.norm(x[:, :dimensions], axis=1, keepdims=True)
    lengths[lengths == 0] = 1.0
    rows: NDArray[np.float32] = (x / lengths).astype(np.float32)
    return rows
