"""What queries were learned from, and what that says of others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.interfaces import FeatureMap, FloatArray
from mixllm.learning.checkpoint import Checkpoint
from mixllm.predictors import FrozenBank, FrozenDensity, LinearBank, QuerySample

__all__ = ["KnownQueries", "Surroundings"]

_PREFIX = "density."
_ROWS_PER_CHANGE = 32
"""A large sample is frozen anew after one change for so many rows: what it says changes as slowly."""

_LEVEL_ROWS = 256
"""Queries over which the LLMs' average quality is taken: enough for a mean, and quick."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surroundings:
    """What a snapshot knows of the queries that it was learned from.

    Parameters
    ----------
    density
        Scores how unlike them a query is.
    levels, spreads
        Mean and standard deviation over them of each LLM's expected quality, shape (K,).
    """

    density: FrozenDensity
    levels: NDArray[np.float64]
    spreads: NDArray[np.float64]


class KnownQueries:
    """A sample of the queries with a judgement, frozen anew when it has changed.

    Parameters
    ----------
    features
        The feature map, whose tags come first in z.
    """

    def __init__(self, *, features: FeatureMap) -> None:
        self._tags = len(features.tags)
        self.sample = QuerySample(dimension=features.dimension)
        self._density: FrozenDensity | None = None
        self._rows = self.sample.rows()
        self._frozen_at = -1

    def add(self, features: FloatArray) -> None:
        """Add judged queries, shape (n, D); those that are known count once."""
        self.sample.add_many(features)

    def surroundings(self, quality: LinearBank, base: FrozenBank | None) -> Surroundings | None:
        """Return what is known now, for LLMs with these posteriors and bases; None before there is enough."""
        density = self._current()
        if density is None:
            return None
        rows = self._rows[:_LEVEL_ROWS]  # The sample is in the order of hashes: its beginning is a sample, too.
        expected = (rows @ quality.means.T).astype(np.float64)
        if base is not None:
            expected += base.predict_rows(rows)
        expected = np.clip(expected, 0.0, 1.0)
        return Surroundings(density=density, levels=expected.mean(axis=0), spreads=expected.std(axis=0))

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the state as arrays of a checkpoint."""
        return {f"{_PREFIX}{name}": array.astype(np.float64) for name, array in self.sample.state().items()}

    @classmethod
    def restored(cls, features: FeatureMap, checkpoint: Checkpoint) -> KnownQueries:
        """Return the state of `checkpoint`, empty where it is too old to have any.

        Raises
        ------
        StateError
            Where it is damaged.
        """
        known = cls(features=features)
        known.sample.load_state(checkpoint.arrays_of(_PREFIX))
        return known

    def _current(self) -> FrozenDensity | None:
        changes = self.sample.changes - self._frozen_at
        if self._frozen_at < 0 or changes > len(self._rows) // _ROWS_PER_CHANGE:
            self._frozen_at = self.sample.changes
            self._rows = self.sample.rows()
            density = FrozenDensity(rows=self._rows, tags=self._tags) if self._tags else None
            self._density = density if density is not None and density.weight > 0 else None
        return self._density
