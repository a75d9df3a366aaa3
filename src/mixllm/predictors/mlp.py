"""A frozen multilayer perceptron with rectified linear units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import FloatArray
from mixllm.predictors.frozen import FrozenRegressor, checked_features, frozen_floats, require_arrays

__all__ = ["MAX_LAYERS", "FrozenMLP"]

MAX_LAYERS = 8
"""Of weights, the last included."""

_Layers = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenMLP(FrozenRegressor):
    """ŷ = W_Lᵀ relu(… relu(W_1ᵀ z + b_1) …) + b_L.

    Parameters
    ----------
    weights
        One matrix per layer, shape (units before, units after); the first has D rows, the last one column.
    biases
        One vector per layer, shape (units after,).

    Examples
    --------
    >>> absolute = FrozenMLP(weights=(np.array([[1.0, -1.0]]), np.ones((2, 1))), biases=(np.zeros(2), np.zeros(1)))
    >>> absolute.predict(np.array([[-3.0], [2.0]]))
    array([3., 2.], dtype=float32)
    """

    kind: ClassVar[str] = "mlp"

    weights: _Layers
    biases: _Layers

    def __post_init__(self) -> None:
        if not 1 <= len(self.weights) <= MAX_LAYERS or len(self.weights) != len(self.biases):
            counts = (len(self.weights), len(self.biases))
            raise InvalidValueError("weights", counts, f"as many matrices as biases, 1 to {MAX_LAYERS}")
        weights = tuple(frozen_floats(f"weights.{i}", array, axes=2) for i, array in enumerate(self.weights))
        biases = tuple(frozen_floats(f"biases.{i}", array, axes=1) for i, array in enumerate(self.biases))
        before = weights[0].shape[0]
        for layer, (matrix, bias) in enumerate(zip(weights, biases, strict=True)):
            after = 1 if layer == len(weights) - 1 else len(bias)
            if matrix.shape != (before, after) or bias.shape != (after,):
                shapes = (matrix.shape, bias.shape)
                raise InvalidValueError(f"weights.{layer}", shapes, f"of shapes {(before, after)} and {(after,)}")
            before = after
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "biases", biases)

    @property
    def dimension(self) -> int:
        """Length D of the features."""
        return int(self.weights[0].shape[0])

    def predict(self, features: FloatArray) -> NDArray[np.float32]:
        """Return the predicted targets, shape (n,), at `features`, shape (n, D)."""
        units = checked_features(features, self.dimension)
        for matrix, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            units = np.maximum(units @ matrix + bias, 0.0)
        predicted: NDArray[np.float32] = (units @ self.weights[-1] + self.biases[-1])[:, 0]
        return predicted

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``weights.0``, ``biases.0``, ``weights.1`` and so on."""
        layers = range(len(self.weights))
        return {f"weights.{i}": self.weights[i] for i in layers} | {f"biases.{i}": self.biases[i] for i in layers}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `arrays` gave; raises `StateError` where it is damaged."""
        layers = range(max(1, len(arrays) // 2))
        names = [f"{part}.{i}" for part in ("weights", "biases") for i in layers]
        require_arrays(arrays, names, kind=cls.kind)
        try:
            return cls(
                weights=tuple(arrays[f"weights.{i}"] for i in layers),
                biases=tuple(arrays[f"biases.{i}"] for i in layers),
            )
        except InvalidValueError as error:
            raise StateError(f"A frozen perceptron is damaged: {error} Fit it again.") from error

    @property
    def stack_key(self) -> tuple[int, int]:
        """The dimension and the number of layers; widths may differ."""
        return self.dimension, len(self.weights)

    @classmethod
    def stack(cls, models: Sequence[Self]) -> _MLPStack:
        """Return `models` with their layers side by side."""
        return _MLPStack(models)


class _MLPStack:
    """Perceptrons of k LLMs, padded to one width a layer: a unit without weights gives 0 and adds nothing."""

    __slots__ = ("_biases", "_first", "_weights")

    def __init__(self, models: Sequence[FrozenMLP]) -> None:
        layers = range(len(models[0].weights))
        widths = [max(model.weights[layer].shape[1] for model in models) for layer in layers]
        before = [models[0].dimension, *widths]
        weights = [np.zeros((len(models), widths[layer], before[layer]), np.float32) for layer in layers]
        biases = [np.zeros((len(models), widths[layer]), np.float32) for layer in layers]
        for row, model in enumerate(models):
            for layer in layers:
                rows, columns = model.weights[layer].shape
                weights[layer][row, :columns, :rows] = model.weights[layer].T
                biases[layer][row, :columns] = model.biases[layer]
        self._first = weights[0].reshape(len(models) * widths[0], before[0])
        self._weights = weights[1:]
        self._biases = biases

    def predict_row(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        # All first layers see the same vector: one product for all LLMs.
        units = (self._first @ row).reshape(self._biases[0].shape) + self._biases[0]
        for matrices, biases in zip(self._weights, self._biases[1:], strict=True):
            units = np.matmul(matrices, np.maximum(units, 0.0)[:, :, None])[:, :, 0] + biases
        last: NDArray[np.float32] = units[:, 0]
        return last
