"""What every offline-fitted predictor is on the request path: arrays that never change, and a function of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import FloatArray

__all__ = [
    "FrozenRegressor",
    "FrozenStack",
    "RowsStack",
    "base_at",
    "check_base",
    "checked_features",
    "checked_row",
    "expected_of",
    "frozen_floats",
    "frozen_indices",
    "require_arrays",
]

_MAX_FEATURE = 1e3
"""The same bound as that of the online predictors."""


class FrozenStack(Protocol):
    """Regressors of one kind, laid out so that one vector goes through all of them at once."""

    def predict_row(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what each of the k regressors predicts at `row`, shape (D,); shape (k,)."""


@runtime_checkable
class RowsStack(Protocol):
    """A stack that shares work also where there are many vectors."""

    def predict_rows(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what each of the k regressors predicts at each of `rows`, shape (n, D); shape (n, k)."""


class FrozenRegressor(ABC):
    """An offline-fitted regressor of one target, frozen.

    Subclasses are frozen dataclasses of read-only float32 and int32 arrays. Their constructors refuse arrays that do
    not fit together with `InvalidValueError`; `from_arrays` refuses them with `StateError`. A prediction is a plain
    number: it is not clipped to the range of the target.
    """

    __slots__ = ()

    kind: ClassVar[str]
    """Name of the family, as it is kept on disk."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length D of the features."""

    @abstractmethod
    def predict(self, features: FloatArray) -> NDArray[np.float32]:
        """Return the predicted targets, shape (n,), at `features`, shape (n, D).

        Raises
        ------
        InvalidValueError
            Where the features have another shape, or one is not within ±1,000.
        """

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that `from_arrays` needs, ready to be saved; the arrays are read-only."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the regressor that `arrays` was written by.

        Raises
        ------
        StateError
            Where an array is missing, unknown, of another shape or not finite, or the arrays contradict each other.
        """

    @property
    @abstractmethod
    def stack_key(self) -> Hashable:
        """What regressors must have in common, beside their kind, to be stacked."""

    @classmethod
    @abstractmethod
    def stack(cls, models: Sequence[Self]) -> FrozenStack:
        """Return `models`, which have one `stack_key`, as one stack."""


def frozen_floats(parameter: str, array: NDArray[Any], *, axes: int) -> NDArray[np.float32]:
    """Return `array` as read-only, finite float32 with this many axes, none of them empty; a copy where needed.

    Raises
    ------
    InvalidValueError
        Where it is not numeric, has other axes or an empty one, or a number is not finite in float32.
    """
    _check_axes(parameter, array, axes=axes, kinds="fiu")
    with np.errstate(over="ignore"):
        narrow = _owned(array, np.float32)
    if not np.isfinite(narrow).all():
        raise InvalidValueError(parameter, "an array with a number that is not finite", "finite in float32")
    return narrow


def frozen_indices(
    parameter: str, array: NDArray[Any], *, axes: int, end: int, length: int | None = None
) -> NDArray[np.int32]:
    """Return `array` as read-only int32 with values in [0, end) and this many axes, none of them empty.

    Raises
    ------
    InvalidValueError
        Where it holds other than integers, has other axes, an empty one or not `length` rows, or a value is out of
        range.
    """
    _check_axes(parameter, array, axes=axes, kinds="iu")
    if length is not None and len(array) != length:
        raise InvalidValueError(parameter, array.shape, f"an array of {length} rows")
    if array.min() < 0 or array.max() >= end:
        outside = int(array.min()) if array.min() < 0 else int(array.max())
        raise InvalidValueError(parameter, outside, f"integers from 0 to {end - 1}")
    return _owned(array, np.int32)


def checked_features(features: FloatArray, dimension: int) -> NDArray[np.float32]:
    """Return `features`, shape (n, D), as contiguous float32, or raise `InvalidValueError`."""
    rows = np.asarray(features)
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise InvalidValueError("features", rows.shape, f"an array of shape (n, {dimension})")
    return _within_bounds(rows)


def checked_row(features: FloatArray, dimension: int) -> NDArray[np.float32]:
    """Return `features`, shape (D,), as contiguous float32, or raise `InvalidValueError`."""
    row = np.asarray(features)
    if row.shape != (dimension,):
        raise InvalidValueError("features", row.shape, f"an array of shape ({dimension},)")
    return _within_bounds(row)


def require_arrays(arrays: Mapping[str, NDArray[Any]], names: Iterable[str], *, kind: str) -> None:
    """Raise `StateError` where `arrays` does not have exactly these names."""
    expected = sorted(names)
    if sorted(arrays) != expected:
        raise StateError(
            f"A frozen {kind!r} predictor has arrays {sorted(arrays)}, expected {expected}. Fit it again, "
            "or load another file."
        )


def check_base(base: FrozenRegressor | None, dimension: int) -> None:
    """Raise `InvalidValueError` where `base` is for features of another length than `dimension`."""
    if base is not None and base.dimension != dimension:
        raise InvalidValueError("base", base.dimension, f"a regressor over features of length {dimension}")


def base_at(base: FrozenRegressor | None, features: FloatArray) -> float:
    """Return what `base` predicts at `features`, shape (D,); 0 without one."""
    return 0.0 if base is None else float(base.predict(np.asarray(features, np.float32)[None])[0])


def expected_of(base: FrozenRegressor | None, features: FloatArray, expected: FloatArray | None) -> FloatArray | float:
    """Return what is expected of each row of `features`, shape (n, D): `expected` where given, else by `base`, else 0.

    Raises
    ------
    InvalidValueError
        Where `expected` is given without a base, or has not one finite number for each row.
    """
    if expected is None:
        return 0.0 if base is None else base.predict(features).astype(np.float64)
    values = np.asarray(expected, np.float64)
    if base is None:
        raise InvalidValueError("expected", values.shape, "None, since there is no base")
    if values.shape != (len(features),) or not np.isfinite(values).all():
        raise InvalidValueError("expected", values.shape, f"{len(features)} finite numbers")
    return values


def _within_bounds(features: NDArray[Any]) -> NDArray[np.float32]:
    # A fitted threshold or neighbour says nothing about a number that no feature map gives. NaN fails too.
    if features.size and not np.abs(features).max() <= _MAX_FEATURE:
        raise InvalidValueError("features", float(np.abs(features).max()), f"finite and within ±{_MAX_FEATURE:g}")
    return np.ascontiguousarray(features, np.float32)


def _check_axes(parameter: str, array: NDArray[Any], *, axes: int, kinds: str) -> None:
    if array.dtype.kind not in kinds:
        raise InvalidValueError(parameter, array.dtype, "an array of " + ("numbers" if "f" in kinds else "integers"))
    if array.ndim != axes or array.size == 0:
        raise InvalidValueError(parameter, array.shape, f"an array with {axes} axes, none of them empty")


def _owned(array: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.owndata and not array.flags.writeable:
        return array  # Already frozen by another regressor: many can share one index.
    copy = np.array(array, dtype, order="C")
    copy.setflags(write=False)
    return copy
