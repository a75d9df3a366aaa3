"""The features that predictors read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray, Projection, Tagger
from mixllm.tags.unit_block import unit_scale

__all__ = ["TagFeatures"]


class TagFeatures:
    """z = [π, Wx, f, 1]: tag probabilities, projected encoding, surface features where there are any, constant.

    Parameters
    ----------
    tagger
        Gives π.
    projection
        Gives Wx.
    surface
        How many surface features f stand at the end of each encoding, scaled together with it (see
        `mixllm.encoders.SurfaceEncoder`); tags and projection see what is before them.
    """

    def __init__(self, *, tagger: Tagger, projection: Projection, surface: int = 0) -> None:
        if surface < 0:
            raise InvalidValueError("surface", surface, ">= 0")
        self.tagger = tagger
        self.projection = projection
        self.surface = surface
        self._tag_count = len(tagger.tags)
        self._embedding_end = self._tag_count + projection.dimension
        self._dimension = self._embedding_end + surface + 1

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
        fingerprint = f"{self.tagger.fingerprint}/{self.projection.fingerprint}"
        return f"{fingerprint}/surface-{self.surface}" if self.surface else fingerprint

    def features(self, encoding: FloatArray) -> NDArray[np.float32]:
        """Return z, shape (D,)."""
        z = np.empty(self._dimension, np.float32)
        if self.surface:
            leading = len(encoding) - self.surface
            scaled = np.asarray(encoding, np.float32)
            scaled = scaled * unit_scale(scaled, leading)
            z[self._embedding_end : -1] = scaled[leading:]
            encoding = scaled[:leading]
        z[: self._tag_count] = self.tagger.tag(encoding)
        z[self._tag_count : self._embedding_end] = self.projection.project(encoding)
        z[-1] = 1.0
        return z
