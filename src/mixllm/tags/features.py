"""The features that predictors read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.interfaces import FloatArray, Projection, Tagger

__all__ = ["TagFeatures"]


class TagFeatures:
    """z = [π, Wx, 1]: tag probabilities, projected encoding, constant.

    Parameters
    ----------
    tagger
        Gives π.
    projection
        Gives Wx.
    """

    def __init__(self, *, tagger: Tagger, projection: Projection) -> None:
        self.tagger = tagger
        self.projection = projection
        self._tag_count = len(tagger.tags)
        self._dimension = self._tag_count + projection.dimension + 1

    @property
    def dimension(self) -> int:
        """Length D of the features."""
        return self._dimension

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tags; they are the first features."""
        return self.tagger.tags

    @property
    def fingerprint(self) -> str:
        """Identity of the map."""
        return f"{self.tagger.fingerprint}/{self.projection.fingerprint}"

    def features(self, encoding: FloatArray) -> NDArray[np.float32]:
        """Return z, shape (D,)."""
        z = np.empty(self._dimension, np.float32)
        z[: self._tag_count] = self.tagger.tag(encoding)
        z[self._tag_count : -1] = self.projection.project(encoding)
        z[-1] = 1.0
        return z
