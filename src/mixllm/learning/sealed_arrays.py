"""Arrays in a folder beside a sealed JSON manifest: how trained parts are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mixllm.errors import StateError
from mixllm.manifest import open_manifest, seal_manifest

__all__ = ["has_sealed", "read_sealed", "write_sealed"]

_ManifestT = TypeVar("_ManifestT", bound=msgspec.Struct)


def has_sealed(folder: Path, stem: str) -> bool:
    """Whether `write_sealed` wrote `stem` into `folder`."""
    return (folder / f"{stem}.json").is_file()


def write_sealed(folder: Path, stem: str, manifest: msgspec.Struct, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write ``{stem}.json`` and ``{stem}.safetensors`` into `folder`, which must exist."""
    tensors = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    (folder / f"{stem}.safetensors").write_bytes(tensors)
    (folder / f"{stem}.json").write_bytes(msgspec.json.format(seal_manifest(manifest, tensors)))


def read_sealed(
    folder: Path, stem: str, *, kind: type[_ManifestT], schema: int, what: str
) -> tuple[_ManifestT, dict[str, NDArray[Any]]]:
    """Return manifest and arrays as `write_sealed` was given them.

    Parameters
    ----------
    folder, stem
        Where they are.
    kind, schema
        As in `open_manifest`.
    what
        What errors call it.

    Raises
    ------
    StateError
        Where a file is missing, damaged or newer.
    """
    tensors_path, manifest_path = folder / f"{stem}.safetensors", folder / f"{stem}.json"
    try:
        sealed, tensors = manifest_path.read_bytes(), tensors_path.read_bytes()
    except OSError as error:
        raise StateError(f"{folder} has no {what} ({error.strerror}). Train again.") from error
    manifest = open_manifest(sealed, tensors, kind=kind, schema=schema, name=str(manifest_path), advice="Train again.")
    try:
        return manifest, load(tensors)
    except (SafetensorError, ValueError) as error:
        raise StateError(f"{tensors_path} is damaged ({error}). Train again.") from error
