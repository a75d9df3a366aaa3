"""Learned state as bytes and as a folder: safetensors with a JSON manifest and a checksum, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mixllm.errors import StateError
from mixllm.manifest import open_manifest, seal_manifest
from mixllm.types import Price

__all__ = ["SCHEMA", "Checkpoint"]

SCHEMA = 2
"""Version of the format; a newer one is refused, an older one is read."""

_MAGIC = b"mixllm-state\n"
_MANIFEST = "state.json"
_TENSORS = "state.safetensors"


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    version: int
    position: int
    features: str
    reference: str | None
    reference_price: Price | None
    llms: tuple[str, ...]
    levels: tuple[float, ...]
    names: dict[str, tuple[str, ...]] = {}
    adopted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything learned up to one event.

    Parameters
    ----------
    version
        Version of the snapshot that was current.
    position
        `LearningEvent.seq` of the last event learned from.
    features
        Fingerprint of the feature map.
    reference, reference_price
        The LLM that sets the scale of cost, and its price.
    llms
        Names of the LLMs, whether in the pool or not.
    levels
        The quality that was expected of each before any feedback.
    arrays
        State arrays, named ``{row}.{part}.{array}`` where they belong to an LLM.
    names
        What rows of other arrays stand for, by the prefix of those arrays, e.g. sources of feedback.
    adopted
        Number of the last `mixllm.types.StateChange` of the store that is part of it; 0 where there is none.
    """

    version: int
    position: int
    features: str
    reference: str | None
    reference_price: Price | None
    llms: tuple[str, ...]
    levels: tuple[float, ...]
    arrays: Mapping[str, NDArray[np.float64]] = field(repr=False)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    adopted: int = 0

    def arrays_of(self, prefix: str) -> dict[str, NDArray[np.float64]]:
        """Return the arrays whose name begins with `prefix`, named by the rest."""
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}

    def names_of(self, prefix: str) -> dict[str, tuple[str, ...]]:
        """Return the names whose prefix begins with `prefix`, named by the rest."""
        return {name.removeprefix(prefix): rows for name, rows in self.names.items() if name.startswith(prefix)}

    def to_bytes(self) -> bytes:
        """Return manifest and arrays as one self-describing, checksummed string of bytes."""
        manifest, tensors = self._encoded()
        return b"".join((_MAGIC, len(manifest).to_bytes(8, "little"), manifest, tensors))

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        """Read what `to_bytes` wrote; raises `StateError` where it is damaged or newer."""
        if not payload.startswith(_MAGIC) or len(payload) < len(_MAGIC) + 8:
            raise StateError("This is not a MixLLM state, or its beginning is damaged. Load another checkpoint.")
        start = len(_MAGIC) + 8
        end = start + int.from_bytes(payload[len(_MAGIC) : start], "little")
        return cls._decoded(payload[start:end], payload[end:], name="The state's manifest", exact=True)

    def to_folder(self, folder: Path) -> None:
        """Write ``state.json`` and ``state.safetensors`` into `folder`, which must exist."""
        manifest, tensors = self._encoded()
        (folder / _TENSORS).write_bytes(tensors)
        (folder / _MANIFEST).write_bytes(msgspec.json.format(manifest))

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read what `to_folder` wrote; raises `StateError` where it is missing, damaged or newer."""
        try:
            manifest, tensors = (folder / _MANIFEST).read_bytes(), (folder / _TENSORS).read_bytes()
        except OSError as error:
            raise StateError(
                f"{folder} holds no readable MixLLM state ({error.strerror}): expected {_MANIFEST} and {_TENSORS}."
            ) from error
        return cls._decoded(manifest, tensors, name=str(folder / _MANIFEST))

    def _encoded(self) -> tuple[bytes, bytes]:
        tensors = save({name: np.ascontiguousarray(array) for name, array in self.arrays.items()})
        manifest = _Manifest(
            schema=SCHEMA,
            version=self.version,
            position=self.position,
            features=self.features,
            reference=self.reference,
            reference_price=self.reference_price,
            llms=self.llms,
            levels=self.levels,
            names=dict(self.names),
            adopted=self.adopted,
        )
        return seal_manifest(manifest, tensors), tensors

    @classmethod
    def _decoded(cls, sealed: bytes, tensors: bytes, *, name: str, exact: bool = False) -> Self:
        manifest = open_manifest(sealed, tensors, kind=_Manifest, schema=SCHEMA, name=name, exact=exact)
        try:
            arrays = load(tensors)
        except SafetensorError as error:
            raise StateError(f"The state's arrays cannot be read ({error}). Load another checkpoint.") from error
        for name, array in arrays.items():
            if array.dtype.kind not in "fiub":
                raise StateError(f"The state's array {name!r} holds no numbers. Load another checkpoint.")
            # Whoever wrote it smaller: sums are compared with bounds that smaller floats do not have.
            arrays[name] = array.astype(np.float64, copy=False)
        if not len(set(manifest.llms)) == len(manifest.llms) == len(manifest.levels):
            raise StateError("The state's manifest names other LLMs than it has levels for. Load another checkpoint.")
        return cls(
            version=manifest.version,
            position=manifest.position,
            features=manifest.features,
            reference=manifest.reference,
            reference_price=manifest.reference_price,
            llms=manifest.llms,
            levels=manifest.levels,
            arrays=arrays,
            names=manifest.names,
            adopted=manifest.adopted,
        )
