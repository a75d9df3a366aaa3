"""Every LLM's frozen regressor at once, of whatever kinds, for the request path."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import FloatArray
from mixllm.predictors.forest import FrozenForest
from mixllm.predictors.frozen import FrozenRegressor, FrozenStack, RowsStack, checked_features, checked_row
from mixllm.predictors.linear_frozen import FrozenLinear
from mixllm.predictors.mlp import FrozenMLP
from mixllm.predictors.neighbours import FrozenNeighbours

__all__ = ["FROZEN_KINDS", "FrozenBank", "frozen_from_arrays"]

FROZEN_KINDS: Mapping[str, type[FrozenRegressor]] = {
    family.kind: family for family in (FrozenLinear, FrozenForest, FrozenMLP, FrozenNeighbours)
}
"""The families by the names that they are kept under."""

_SAME_AS = "vectors_of"


def frozen_from_arrays(kind: str, arrays: Mapping[str, NDArray[Any]]) -> FrozenRegressor:
    """Return the regressor of `kind` that `arrays` was written by.

    Raises
    ------
    StateError
        Where the kind is unknown, or the arrays are damaged.

    Examples
    --------
    >>> frozen_from_arrays("linear", {"weights": np.array([0.5, 0.25])}).predict(np.array([[1.0, 1.0]]))
    array([0.75], dtype=float32)
    """
    family = FROZEN_KINDS.get(kind)
    if family is None:
        raise StateError(
            f"No frozen predictor is of kind {kind!r}; known are {', '.join(FROZEN_KINDS)}. "
            "Fit it again, or use the version of MixLLM that wrote it."
        )
    return family.from_arrays(arrays)


class FrozenBank:
    """K frozen regressors over the same features, one for each LLM; never changed.

    Regressors that can be are stacked: one matrix product for all linear ones, one descent through the trees of all
    forests, one search for all neighbours with the same vectors.

    Parameters
    ----------
    models
        The regressors, in the order of the LLMs; all of one dimension.

    Examples
    --------
    >>> bank = FrozenBank(models=[FrozenLinear(weights=np.array([0.5, 0.25])), FrozenLinear(weights=np.ones(2))])
    >>> bank.predict(np.array([1.0, 1.0]))
    array([0.75, 2.  ], dtype=float32)
    """

    __slots__ = ("_stacks", "dimension", "models")

    def __init__(self, *, models: Sequence[FrozenRegressor]) -> None:
        dimensions = {model.dimension for model in models}
        if len(dimensions) != 1:
            raise InvalidValueError("models", sorted(dimensions), "at least one, all of one dimension")
        self.dimension = dimensions.pop()
        self.models = _with_shared_vectors(models)
        groups: dict[tuple[str, Hashable], list[int]] = {}
        for place, model in enumerate(self.models):
            groups.setdefault((model.kind, model.stack_key), []).append(place)
        self._stacks: list[tuple[NDArray[np.intp], FrozenStack]] = [
            (np.array(places), FROZEN_KINDS[kind].stack([self.models[place] for place in places]))
            for (kind, _), places in groups.items()
        ]

    def __len__(self) -> int:
        return len(self.models)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each regressor."""
        return tuple(model.kind for model in self.models)

    def predict(self, features: FloatArray) -> NDArray[np.float32]:
        """Return what each regressor predicts at `features`, shape (D,); shape (K,).

        Raises
        ------
        InvalidValueError
            Where the features have another shape, or one is not within ±1,000.
        """
        row = checked_row(features, self.dimension)
        predicted = np.empty(len(self.models), np.float32)
        for places, stack in self._stacks:
            predicted[places] = stack.predict_row(row)
        return predicted

    def predict_rows(self, features: FloatArray) -> NDArray[np.float32]:
        """Return what each regressor predicts at each of `features`, shape (n, D); shape (n, K)."""
        rows = checked_features(features, self.dimension)
        predicted = np.empty((len(rows), len(self.models)), np.float32)
        for places, stack in self._stacks:
            if isinstance(stack, RowsStack):
                predicted[:, places] = stack.predict_rows(rows)
                continue
            for place in places.tolist():
                predicted[:, place] = self.models[place].predict(rows)
        return predicted

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that `from_arrays` needs beside `kinds`, named ``{row}.{array}``.

        Neighbours of the same vectors keep them once: the others name the row that has them, as ``vectors_of``.
        """
        kept: dict[str, NDArray[Any]] = {}
        owners: dict[Hashable, int] = {}
        for row, model in enumerate(self.models):
            arrays = model.arrays()
            if isinstance(model, FrozenNeighbours):
                owner = owners.setdefault(model.stack_key, row)
                if owner != row:
                    del arrays["vectors"]
                    arrays[_SAME_AS] = np.array([owner], np.int32)
            kept.update({f"{row}.{name}": array for name, array in arrays.items()})
        return kept

    @classmethod
    def from_arrays(cls, kinds: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the bank whose `kinds` and `arrays` these are.

        Raises
        ------
        StateError
            Where a kind is unknown, arrays are left over or damaged, or the dimensions differ.
        """
        parts: dict[str, dict[str, NDArray[Any]]] = {str(row): {} for row in range(len(kinds))}
        for name, array in arrays.items():
            row, _, rest = name.partition(".")
            if row not in parts:
                raise StateError(f"Array {name!r} belongs to none of {len(parts)} frozen predictors. Fit them again.")
            parts[row][rest] = array
        models: list[FrozenRegressor] = []
        for kind, part in zip(kinds, parts.values(), strict=True):
            if _SAME_AS in part:
                part["vectors"] = _vectors_of(models, part.pop(_SAME_AS))
            models.append(frozen_from_arrays(kind, part))
        try:
            return cls(models=models)
        except InvalidValueError as error:
            raise StateError(f"Frozen predictors do not fit together: {error} Fit them again.") from error


def _vectors_of(models: Sequence[FrozenRegressor], reference: NDArray[Any]) -> NDArray[np.float32]:
    if reference.shape == (1,) and reference.dtype.kind in "iu" and 0 <= reference[0] < len(models):
        owner = models[int(reference[0])]
        if isinstance(owner, FrozenNeighbours):
            return owner.vectors
    raise StateError("Frozen neighbours are damaged: they name no vectors that came before. Fit them again.")


def _with_shared_vectors(models: Sequence[FrozenRegressor]) -> tuple[FrozenRegressor, ...]:
    """Let neighbours with equal vectors hold the same array, so that the index is in memory once."""
    owners: dict[Hashable, FrozenNeighbours] = {}
    shared: list[FrozenRegressor] = []
    for model in models:
        if isinstance(model, FrozenNeighbours):
            owner = owners.setdefault(model.stack_key, model)
            if owner.vectors is not model.vectors:
                model = FrozenNeighbours(
                    vectors=owner.vectors,
                    targets=model.targets,
                    neighbours=model.neighbours,
                    weighting=model.weighting,
                )
        shared.append(model)
    return tuple(shared)
