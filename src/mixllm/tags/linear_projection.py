"""The trained shorter vector Wx."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.tags.unit_block import unit_scale

__all__ = ["LinearProjection"]


class LinearProjection:
    """W(x − c) on the leading block of x, scaled to length 1 where asked.

    Parameters
    ----------
    matrix
        W, shape (d', d).
    centre
        c, shape (d,); d is the length of the leading block.
    unit
        Whether the result is scaled to unit length: then only directions count.

    Examples
    --------
    >>> projection = LinearProjection(matrix=np.eye(2), centre=np.zeros(2), unit=False)
    >>> projection.project(np.array([0.6, 0.8]))
    array([0.6, 0.8], dtype=float32)
    """

    def __init__(self, *, matrix: NDArray[np.floating], centre: NDArray[np.floating], unit: bool) -> None:
        if np.ndim(matrix) != 2 or len(matrix) < 1 or not np.isfinite(matrix).all():
            raise InvalidValueError("matrix", np.shape(matrix), "finite numbers of shape (d', d)")
        if np.shape(centre) != (matrix.shape[1],) or not np.isfinite(centre).all():
            raise InvalidValueError("centre", np.shape(centre), f"finite numbers of shape ({matrix.shape[1]},)")
        self.matrix = np.array(matrix, np.float32, order="C")
        self.centre = np.array(centre, np.float32)
        self.unit = unit
        self._columns = np.ascontiguousarray(self.matrix.T)
        self._offset = self.matrix @ self.centre

    @property
    def dimension(self) -> int:
        """Length d' of the projected vectors."""
        return len(self.matrix)

    @property
    def fingerprint(self) -> str:
        """Identity of the projection."""
        digest = hashlib.sha256(self.matrix.tobytes() + self.centre.tobytes() + bytes([self.unit])).hexdigest()
        return f"linear-{self.dimension}-{digest[:12]}"

    def project(self, encoding: FloatArray) -> NDArray[np.float32]:
        """Return the projected encoding, shape (d',); for encodings of shape (n, d), shape (n, d')."""
        x = np.asarray(encoding, np.float32)
        # W(x − c) = Wx · scale − Wc: scaling d' numbers instead of d.
        scale = unit_scale(x, len(self.centre))
        projected = (x[..., : len(self.centre)] @ self._columns) * scale - self._offset
        if self.unit:
            lengths = np.linalg.norm(projected, axis=-1, keepdims=True)
            projected = projected / np.where(lengths == 0, 1.0, lengths)
        return projected.astype(np.float32, copy=False)
