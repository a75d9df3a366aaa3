"""How unlike a query is to all that was learned from: a bounded sample of queries, and the score that it gives."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from heapq import heappush, heappushpop
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import FloatArray

__all__ = ["FrozenDensity", "QuerySample"]

_FEWEST = 100
"""Below so many queries nothing can be called unlike them."""

_ENOUGH = 300
"""From so many on the score is what it says; between the two it fades in."""

_SHRINKAGE = 0.1
"""Weight of a sphere in the covariance: a sample of about a thousand says little of the smallest directions."""

_TAIL = 0.98
"""Share of the queries learned from whose score is below 0.5."""

_STEEPNESS = 6.0
"""The middle query has the score 1/(1 + exp(6)), a quarter of a percent."""

_SMALLEST_SPREAD = 1e-3
_TINY = 1e-9
_MAX_FEATURE = 1e3


class QuerySample:
    """A random sample of the distinct queries that were learned from, of bounded size.

    Each query has a priority that is a hash of its features; the sample holds those with the lowest. So it does not
    depend on the order in which queries come, the same query counts once however often it comes, and the sample of two
    sets of queries is made from their two samples.

    Parameters
    ----------
    dimension
        Length D of the features z.
    size
        Queries held at most, >= 1.

    Examples
    --------
    >>> one, other = QuerySample(dimension=2, size=8), QuerySample(dimension=2, size=8)
    >>> one.add(np.array([0.5, 1.0])), one.add(np.array([0.5, 1.0])), other.add(np.array([0.1, 1.0]))
    (True, False, True)
    >>> one.merge(other)
    >>> len(one)
    2
    """

    def __init__(self, *, dimension: int, size: int = 1024) -> None:
        if dimension < 2 or size < 1:
            raise InvalidValueError("dimension, size", (dimension, size), ">= 2 and >= 1")
        self.dimension = dimension
        self.size = size
        self.changes = 0  # Rises whenever the sample becomes another one.
        self._rows: dict[int, NDArray[np.float32]] = {}
        self._highest: list[int] = []  # A heap of the priorities, negative: its first is the next to leave.

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, features: FloatArray) -> bool:
        """Add one query by its features, shape (D,); return whether the sample is another one now.

        Raises
        ------
        InvalidValueError
            Where the features have another shape, or one is not within ±1,000; the sample stays as it was.
        """
        return self.add_many(np.asarray(features, np.float32)[None]) > 0

    def add_many(self, features: FloatArray) -> int:
        """Add n queries, shape (n, D); return how many of them entered, of which later ones may have driven out some.

        Raises
        ------
        InvalidValueError
            As `add` does.
        """
        rows = np.array(features, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dimension or not (np.abs(rows) <= _MAX_FEATURE).all():
            raise InvalidValueError("features", rows.shape, f"shape (n, {self.dimension}), within ±{_MAX_FEATURE:g}")
        rows += 0.0  # −0 and 0 are the same feature, but not the same bytes.
        entered = sum(self._enter(_priority(row), row) for row in rows)
        self.changes += entered > 0
        return entered

    def merge(self, other: QuerySample) -> None:
        """Add what `other` has seen; raises `InvalidValueError` where its dimension or size is another."""
        if (other.dimension, other.size) != (self.dimension, self.size):
            raise InvalidValueError("other", (other.dimension, other.size), f"of {(self.dimension, self.size)}")
        self.changes += sum(self._enter(priority, row) for priority, row in other._rows.items()) > 0

    def rows(self) -> NDArray[np.float32]:
        """Return the features of the sample, shape (m, D), in the order of their priorities."""
        if not self._rows:
            return np.empty((0, self.dimension), np.float32)
        return np.stack([self._rows[priority] for priority in sorted(self._rows)])

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Return the state: ``rows``, as `rows` has them."""
        return {"rows": self.rows()}

    def load_state(self, state: Mapping[str, NDArray[np.floating]]) -> None:
        """Replace the state; an empty one empties the sample, as those of before there was a sample are.

        Raises
        ------
        StateError
            Where it does not fit; the sample stays as it was.
        """
        fresh = QuerySample(dimension=self.dimension, size=self.size)
        rows = state["rows"] if "rows" in state else np.empty((0, self.dimension))
        if len(rows) > self.size:
            raise StateError(f"The sample of queries has {len(rows)} rows of {self.size}. Load another checkpoint.")
        try:
            fresh.add_many(rows)
        except InvalidValueError as error:
            raise StateError(f"The sample of queries is damaged: {error} Load another checkpoint.") from error
        self._rows, self._highest = fresh._rows, fresh._highest
        self.changes += 1

    def _enter(self, priority: int, row: NDArray[np.float32]) -> bool:
        if priority in self._rows:
            return False
        if len(self._rows) < self.size:
            heappush(self._highest, -priority)
        else:
            left = -heappushpop(self._highest, -priority)
            if left == priority:
                return False
            del self._rows[left]
        self._rows[priority] = row
        return True


class FrozenDensity:
    """The score of a query against a sample, for the request path; never changed.

    Parameters
    ----------
    rows
        Features z = [π, Wx, 1] of the sample, shape (m, D).
    tags
        Length T of π.

    Notes
    -----
    Two things are unusual about a query from elsewhere: its tags are undecided, H = −Σ π log π; and it lies far from
    the queries of its tags, d² = Σ_t π_t (Wx − μ_t)ᵀ S⁻¹ (Wx − μ_t), with μ_t the mean of the sample's queries of tag t
    and S their covariance around it, a tenth of it a sphere. With both in standard deviations of the sample above its
    mean, 0 where they are below, a = hypot(H, d²) and score = 1/(1 + exp(−6 (a − a_0.98)/(a_0.98 − a_0.5))), with a_p
    the quantile of the sample. The sample need not be normal: two percent of it score above 0.5 in any case.

    With up to 100 queries the score is 0, since nothing is known yet that others could be unlike; it fades in until
    there are 300.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> seen = np.hstack([np.ones((400, 1)), rng.normal(0.0, 0.1, (400, 4)), np.ones((400, 1))])
    >>> density = FrozenDensity(rows=seen, tags=1)
    >>> density.score(seen[0]) < 0.1, density.score(np.array([1.0, 2.0, 2.0, 2.0, 2.0, 1.0])) > 0.99
    (True, True)
    """

    def __init__(self, *, rows: FloatArray, tags: int) -> None:
        sample = np.asarray(rows, np.float64)
        if sample.ndim != 2 or not 1 <= tags < sample.shape[1] - 1:
            raise InvalidValueError("rows", sample.shape, f"shape (m, D) with more than {tags} tags and a constant")
        self.tags = tags
        self.queries = len(sample)
        self.weight = min(1.0, max(0.0, (self.queries - _FEWEST) / (_ENOUGH - _FEWEST)))
        if self.weight == 0.0:
            return
        shares, points = np.maximum(sample[:, :tags], 0.0), sample[:, tags:-1]
        masses = np.maximum(shares.sum(axis=0), _TINY)
        centres = (shares.T @ points) / masses[:, None]
        covariance = ((points * shares.sum(axis=1)[:, None]).T @ points - (centres.T * masses) @ centres) / masses.sum()
        variances, axes = np.linalg.eigh((covariance + covariance.T) / 2)
        sphere = max(float(variances.mean()), _TINY)
        stds = np.sqrt((1.0 - _SHRINKAGE) * np.maximum(variances, 0.0) + _SHRINKAGE * sphere)
        root = (axes / stds).T  # S⁻¹ = rootᵀ root
        whitened = centres @ root.T
        # Σ π ‖y − m_t‖² = ‖y‖² + Σ π (‖m_t‖² − 2 m_t·y) with y = root Wx: one product gives y and all −2 m_t·y.
        self._product = np.vstack([root, -2.0 * whitened @ root]).astype(np.float32)
        self._squares = (whitened**2).sum(axis=1).astype(np.float32)
        self._length = len(root)
        raw = np.stack(self._raw(np.ascontiguousarray(sample, np.float32)), axis=1).astype(np.float64)
        means, scales = raw.mean(axis=0), np.maximum(raw.std(axis=0), _SMALLEST_SPREAD)
        unusual = np.maximum((raw - means) / scales, 0.0)
        anomalies = np.hypot(unusual[:, 0], unusual[:, 1])
        middle, tail = (float(np.quantile(anomalies, share)) for share in (0.5, _TAIL))
        self._scales: tuple[float, ...] = (*means.tolist(), *(1.0 / scales).tolist())
        self._tail, self._steepness = tail, _STEEPNESS / max(tail - middle, _SMALLEST_SPREAD)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that `from_arrays` needs; for one that scores, whose weight is above 0."""
        numbers = (self.tags, self.queries, self._length, self.weight, self._tail, self._steepness, *self._scales)
        return {"product": self._product, "squares": self._squares, "numbers": np.array(numbers, np.float64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return what scores as the one that gave `arrays`.

        Raises
        ------
        StateError
            Where they do not fit together.
        """
        made = cls.__new__(cls)
        try:
            tags, queries, length, weight, tail, steepness, *scales = arrays["numbers"].tolist()
            # Its own attributes, as `__init__` sets them.
            vars(made).update(tags=int(tags), queries=int(queries), weight=weight, _length=int(length))
            vars(made).update(_product=arrays["product"], _squares=arrays["squares"])
        except (KeyError, ValueError) as error:
            raise StateError(f"A density's arrays do not fit together ({error}). Learn it again.") from error
        vars(made).update(_tail=tail, _steepness=steepness, _scales=tuple(scales))
        return made

    def score(self, features: FloatArray) -> float:
        """Return how far outside a query lies, from 0 to 1, by its features, shape (D,)."""
        if self.weight == 0.0:
            return 0.0
        z = np.asarray(features, np.float32)
        shares = z[: self.tags]
        products = self._product.dot(z[self.tags : -1])
        point = products[: self._length]
        undecided = -float(shares.dot(np.log(np.maximum(shares, _TINY))))
        distance = float(point.dot(point) + shares.dot(products[self._length :] + self._squares))
        mean, mean_distance, rate, rate_distance = self._scales
        anomaly = math.hypot(max(0.0, (undecided - mean) * rate), max(0.0, (distance - mean_distance) * rate_distance))
        return self.weight / (1.0 + math.exp(min(-self._steepness * (anomaly - self._tail), 700.0)))

    def scores(self, features: FloatArray) -> NDArray[np.float64]:
        """Return the scores of n queries, shape (n, D)."""
        return np.array([self.score(row) for row in np.asarray(features, np.float32)], np.float64)

    def _raw(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return H and d² of each row."""
        shares = rows[:, : self.tags]
        products = rows[:, self.tags : -1] @ self._product.T
        points = products[:, : self._length]
        undecided = -(shares * np.log(np.maximum(shares, _TINY))).sum(axis=1)
        return undecided, (points**2).sum(axis=1) + (shares * (products[:, self._length :] + self._squares)).sum(axis=1)


def _priority(row: NDArray[np.float32]) -> int:
    return int.from_bytes(hashlib.blake2b(row.astype("<f4").tobytes(), digest_size=8).digest(), "big")
