"""Arrays in a folder beside their manifest: read back, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import StateError
from mixllm.learning.sealed_arrays import has_sealed, read_sealed, write_sealed


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    name: str


def test_what_was_written_is_read(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {"a": np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::2], "b": np.ones(2)}
    write_sealed(tmp_path, "part", Shape(schema=1, name="x"), arrays)
    assert has_sealed(tmp_path, "part")
    assert not has_sealed(tmp_path, "other")
    manifest, read = read_sealed(tmp_path, "part", kind=Shape, schema=1, what="parts")
    assert manifest == Shape(schema=1, name="x")
    assert {name: array.tolist() for name, array in read.items()} == {"a": [[0, 2], [3, 5]], "b": [1.0, 1.0]}


@pytest.mark.parametrize("missing", ["part.json", "part.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    write_sealed(tmp_path, "part", Shape(schema=1, name="x"), {"a": np.ones(1)})
    (tmp_path / missing).unlink()
    with pytest.raises(StateError, match=r"has no parts \(No such file or directory\)\. Train again"):
        read_sealed(tmp_path, "part", kind=Shape, schema=1, what="parts")


def test_newer_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    write_sealed(tmp_path, "part", Shape(schema=2, name="x"), {"a": np.ones(1)})
    with pytest.raises(StateError, match="newer"):
        read_sealed(tmp_path, "part", kind=Shape, schema=1, what="parts")
    manifest = tmp_path / "part.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"x"', b'"y"'))
    with pytest.raises(StateError, match="damaged"):
        read_sealed(tmp_path, "part", kind=Shape, schema=2, what="parts")
