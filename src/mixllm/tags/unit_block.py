"""Encodings back in the scale that training saw: the leading block of unit length."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray

__all__ = ["unit_block", "unit_scale"]


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
    scaled: NDArray[np.float32] = x * unit_scale(x, dimensions)
    return scaled


def unit_scale(x: NDArray[np.float32], dimensions: int) -> NDArray[np.float32] | np.float32:
    """Return what scales the first `dimensions` entries to length 1: a number, or for many rows shape (n, 1).

    Raises
    ------
    InvalidValueError
        Where `dimensions` is not between 1 and d.
    """
    if not 1 <= dimensions <= x.shape[-1]:
        raise InvalidValueError("dimensions", dimensions, f"between 1 and {x.shape[-1]}")
    if x.ndim == 1:
        head = x[:dimensions]
        length = math.sqrt(float(head @ head))
        return np.float32(1.0 / length if length > 0 else 1.0)
    lengths = np.linalg.norm(x[:, :dimensions], axis=1, keepdims=True)
    lengths[lengths == 0] = 1.0
    scale: NDArray[np.float32] = (1.0 / lengths).astype(np.float32)
    return scale
