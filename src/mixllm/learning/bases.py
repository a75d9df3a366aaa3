"""Bases: what was fitted offline under an LLM's online predictors, and never changes after."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.learning.sealed_arrays import has_sealed, read_sealed, write_sealed
from mixllm.predictors import FrozenBank, FrozenLinear, FrozenRegressor

__all__ = ["Bases"]

_SCHEMA = 1
_STEM = "bases"
_PARTS = ("quality", "length")


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    kinds: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bases:
    """Regressors of LLMs by their names; an LLM may have none.

    The Bayesian model of an LLM with a base learns what the base leaves: the forecast is their sum. Bases travel with
    the model's folder, not with what is learned on top of them, and `digest` keeps the two from being mixed up.

    Parameters
    ----------
    quality
        Regressors of quality over z.
    length
        Regressors of log(1 + tokens_out) over `length_features`.

    Raises
    ------
    InvalidValueError
        Where there is none at all, or those of a part are for features of different lengths.

    Examples
    --------
    >>> bases = Bases(quality={"small": FrozenLinear(weights=np.array([0.1, 0.5]))}, length={})
    >>> bases.quality_bank(["large", "small"]).predict(np.array([1.0, 1.0]))
    array([0. , 0.6], dtype=float32)
    >>> bases.length_bank(["large", "small"]) is None
    True
    """

    quality: Mapping[str, FrozenRegressor]
    length: Mapping[str, FrozenRegressor]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        if not self.quality and not self.length:
            raise InvalidValueError("quality", "{}", "at least one base, of quality or of length")
        digest = hashlib.sha256(msgspec.json.encode(self.kinds(), order="sorted"))
        for name, array in sorted(self.arrays().items()):
            digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        object.__setattr__(self, "digest", digest.hexdigest())

    def check_dimensions(self, *, quality: int, length: int) -> None:
        """Raise `InvalidValueError` where the bases are not for features of these lengths."""
        for part, dimension in (("quality", quality), ("length", length)):
            for llm, model in self._part(part).items():
                if model.dimension != dimension:
                    raise InvalidValueError(f"base of {part} of {llm}", model.dimension, f"of dimension {dimension}")

    def quality_bank(self, llms: Sequence[str]) -> FrozenBank | None:
        """Return the bases of quality of `llms`, 0 for those without one; None where none of them has one."""
        return _bank(self.quality, llms)

    def length_bank(self, llms: Sequence[str]) -> FrozenBank | None:
        """Return the bases of log length of `llms`, 0 for those without one; None where none of them has one."""
        return _bank(self.length, llms)

    def kinds(self) -> dict[str, dict[str, str]]:
        """Return the kind of each base, by part and LLM: what `from_arrays` needs beside the arrays."""
        return {part: {llm: model.kind for llm, model in sorted(self._part(part).items())} for part in _PARTS}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of all bases, named ``{part}.{row}.{array}``, with a row per LLM in the order of names."""
        kept: dict[str, NDArray[Any]] = {}
        for part in _PARTS:
            models = [model for _, model in sorted(self._part(part).items())]
            if models:
                kept |= {f"{part}.{name}": array for name, array in FrozenBank(models=models).arrays().items()}
        return kept

    @classmethod
    def from_arrays(cls, kinds: Mapping[str, Mapping[str, str]], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the bases whose `kinds` and `arrays` these are.

        Raises
        ------
        StateError
            Where a kind or a part is unknown, arrays are left over or damaged, or there is nothing.
        """
        parts: dict[str, dict[str, NDArray[Any]]] = {part: {} for part in _PARTS}
        for name, array in arrays.items():
            part, _, rest = name.partition(".")
            if part not in parts:
                raise StateError(f"Array {name!r} belongs to no base. Train again.")
            parts[part][rest] = array
        if not set(kinds) <= set(_PARTS):
            raise StateError(f"Bases of {', '.join(sorted(set(kinds) - set(_PARTS)))} are not known. Train again.")
        models: dict[str, dict[str, FrozenRegressor]] = {}
        for part in _PARTS:
            llms = sorted(kinds.get(part, {}))
            if parts[part] and not llms:
                raise StateError(f"There are arrays of bases of {part}, but no LLM that they belong to. Train again.")
            if llms:
                bank = FrozenBank.from_arrays([kinds[part][llm] for llm in llms], parts[part])
                models[part] = dict(zip(llms, bank.models, strict=True))
        try:
            return cls(quality=models.get("quality", {}), length=models.get("length", {}))
        except InvalidValueError as error:
            raise StateError(f"The bases do not fit together: {error} Train again.") from error

    def to_folder(self, folder: Path) -> None:
        """Write ``bases.json`` and ``bases.safetensors`` into `folder`, which must exist."""
        write_sealed(folder, _STEM, _Manifest(schema=_SCHEMA, kinds=self.kinds()), self.arrays())

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether `folder` has bases."""
        return has_sealed(folder, _STEM)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read what `to_folder` wrote; raises `StateError` where it is missing, damaged or newer."""
        manifest, arrays = read_sealed(folder, _STEM, kind=_Manifest, schema=_SCHEMA, what="bases")
        return cls.from_arrays(manifest.kinds, arrays)

    def _part(self, part: str) -> Mapping[str, FrozenRegressor]:
        return self.quality if part == "quality" else self.length


def _bank(models: Mapping[str, FrozenRegressor], llms: Sequence[str]) -> FrozenBank | None:
    known = [models[llm] for llm in llms if llm in models]
    if not known:
        return None
    nothing = FrozenLinear(weights=np.zeros(known[0].dimension, np.float32))
    return FrozenBank(models=[models.get(llm, nothing) for llm in llms])
