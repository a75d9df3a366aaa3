"""Stacks of rows whose products do not depend on how many rows there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["whole_blocks"]

_BLOCK_ROWS = 8
"""BLAS multiplies so many rows by one kernel, and what is left over by others that round otherwise."""


def whole_blocks(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `rows`, shape (n, D), with rows of zeros after them up to a whole number of blocks; read-only.

    Without them, an LLM that is added or removed would change the last bits of other LLMs' forecasts, and now and then
    a decision.

    Examples
    --------
    >>> whole_blocks(np.ones((3, 2), np.float32)).shape
    (8, 2)
    """
    blocks = np.zeros((-(-len(rows) // _BLOCK_ROWS) * _BLOCK_ROWS, rows.shape[1]), np.float32)
    blocks[: len(rows)] = rows
    blocks.setflags(write=False)
    return blocks
