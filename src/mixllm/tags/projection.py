"""The shorter vector Wx without training: the leading dimensions of a nested embedding."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray

__all__ = ["TruncatedProjection"]


class TruncatedProjection:
    """The first d' dimensions of x − c, scaled to unit norm.

    WordLlama's table is trained so that its leading dimensions form a good embedding by themselves (Matryoshka
    representation learning, Kusupati et al. 2022), so truncation is a projection that needs no training.

    Parameters
    ----------
    centre
        What is common to all queries, subtracted first, shape (d,).
    dimension
        d', between 1 and d.

    Examples
    --------
    >>> TruncatedProjection(centre=np.zeros(3), dimension=2).project(np.array([3.0, 4.0, 9.0]))
    array([0.6, 0.8], dtype=float32)
    """

    def __init__(self, *, centre: FloatArray, dimension: int) -> None:
        if np.ndim(centre) != 1 or not np.isfinite(centre).all():
            raise InvalidValueError("centre", np.shape(centre), "a vector of finite numbers")
        if not 1 <= dimension <= len(centre):
            raise InvalidValueError("dimension", dimension, f"between 1 and {len(centre)}")
        self.centre = np.array(centre, np.float32, order="C")
        self.dimension = dimension
        self._head = self.centre[:dimension]

    @property
    def fingerprint(self) -> str:
        """Identity of the projection: centre and dimension."""
        return f"truncated-{self.dimension}-{hashlib.sha256(self.centre.tobytes()).hexdigest()[:12]}"

    def project(self, encoding: FloatArray) -> NDArray[np.float32]:
        """Return the projected encoding, shape (d',), of unit norm (or zero where nothing is left of it)."""
        head = np.asarray(encoding[: self.dimension], np.float32) - self._head
        norm = math.sqrt(float(head.dot(head)))
        return head if norm == 0.0 else head / np.float32(norm)
