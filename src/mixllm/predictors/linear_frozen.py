"""A frozen linear regressor: weights and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import FloatArray
from mixllm.predictors.frozen import FrozenRegressor, checked_features, frozen_floats, require_arrays

__all__ = ["FrozenLinear"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenLinear(FrozenRegressor):
    """ŷ = wᵀz.

    Parameters
    ----------
    weights
        w, shape (D,). There is no intercept: features end with the constant 1.

    Examples
    --------
    >>> model = FrozenLinear(weights=np.array([0.5, 0.25]))
    >>> model.predict(np.array([[1.0, 1.0], [0.0, 1.0]]))
    array([0.75, 0.25], dtype=float32)
    """

    kind: ClassVar[str] = "linear"

    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", frozen_floats("weights", self.weights, axes=1))

    @property
    def dimension(self) -> int:
        """Length D of the features."""
        return len(self.weights)

    def predict(self, features: FloatArray) -> NDArray[np.float32]:
        """Return the predicted targets, shape (n,), at `features`, shape (n, D)."""
        return checked_features(features, self.dimension) @ self.weights

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``weights``, shape (D,)."""
        return {"weights": self.weights}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `arrays` gave; raises `StateError` where it is damaged."""
        require_arrays(arrays, ("weights",), kind=cls.kind)
        try:
            return cls(weights=arrays["weights"])
        except InvalidValueError as error:
            raise StateError(f"A frozen linear predictor is damaged: {error} Fit it again.") from error

    @property
    def stack_key(self) -> int:
        """The dimension."""
        return self.dimension

    @classmethod
    def stack(cls, models: Sequence[Self]) -> _LinearStack:
        """Return `models` as one matrix."""
        return _LinearStack(weights=np.stack([model.weights for model in models]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _LinearStack:
    weights: NDArray[np.float32]

    def predict_row(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.weights @ row
