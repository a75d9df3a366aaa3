"""Files of static encoders: where they are found, and what is wrong with bad ones."""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.encoders.small_model import small_mapping, small_table, small_tokenizer, small_weights, write_folder

from mixllm.encoders.static_files import read_folder, read_wordllama
from mixllm.errors import EncoderError


def test_wordllama_is_read_as_it_is_shipped() -> None:
    files = read_wordllama()
    assert files.name == "wordllama"
    assert files.table.shape == (32_000, 256)
    assert files.table.dtype == np.float16
    assert files.tokenizer.get_vocab_size() == 32_000
    assert (files.token_weights, files.token_rows) == (None, None)


@pytest.mark.parametrize("spec", [None, ValueError("wordllama.__spec__ is None")], ids=["not installed", "no spec"])
def test_a_missing_wordllama_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, spec: object) -> None:
    def find_spec(name: str) -> None:
        assert name == "wordllama"
        if isinstance(spec, ValueError):
            raise spec

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(EncoderError, match="pip install wordllama"):
        read_wordllama()


def test_a_wordllama_package_without_its_files_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = ModuleType("wordllama")
    package.__spec__ = importlib.util.spec_from_loader("wordllama", loader=None, is_package=True)
    assert package.__spec__ is not None
    package.__spec__.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setitem(__import__("sys").modules, "wordllama", package)
    with pytest.raises(EncoderError, match=r"l2_supercat_256\.safetensors is missing"):
        read_wordllama()


def test_a_model2vec_folder_is_read_with_weights_and_mapping(tmp_path: Path) -> None:
    table, weights, mapping = small_table(20), small_weights(), small_mapping(20)
    files = read_folder(
        write_folder(tmp_path / "m", tables={"embeddings": table, "weights": weights, "mapping": mapping})
    )
    assert files.name == "model2vec"
    np.testing.assert_array_equal(files.table, table)
    assert files.token_weights is not None
    np.testing.assert_array_equal(files.token_weights, weights)
    assert files.token_rows is not None
    np.testing.assert_array_equal(files.token_rows, mapping)
    assert files.tokenizer.to_str() == small_tokenizer().to_str()


@pytest.mark.parametrize("as_text", [True, False])
def test_a_path_may_be_text(model_folder: Path, as_text: bool) -> None:
    assert read_folder(str(model_folder) if as_text else model_folder).table.shape == small_table().shape


def test_a_bare_folder_with_other_file_names_is_read(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "bare",
        tables={"embedding.weight": small_table()},
        table_name="l2_supercat_256.safetensors",
        tokenizer_name="l2_supercat_tokenizer_config.json",
    )
    np.testing.assert_array_equal(read_folder(folder).table, small_table())


def test_sentence_transformers_own_layout_is_read(tmp_path: Path) -> None:
    write_folder(tmp_path / "st" / "0_StaticEmbedding", tables={"embedding.weight": small_table()})
    np.testing.assert_array_equal(read_folder(tmp_path / "st").table, small_table())


def test_config_may_be_missing(model_folder: Path) -> None:
    (model_folder / "config.json").unlink()
    assert read_folder(model_folder).table.shape == small_table().shape


def test_the_digest_is_of_contents_and_not_of_the_place(model_folder: Path, tmp_path: Path) -> None:
    digest = read_folder(model_folder).digest
    moved = Path(shutil.copytree(model_folder, tmp_path / "elsewhere"))
    assert read_folder(moved).digest == digest
    other_table = write_folder(tmp_path / "table", tables={"embeddings": small_table(seed=8)})
    assert read_folder(other_table).digest != digest
    tokenizer = small_tokenizer()
    tokenizer.add_tokens(["zebra"])
    other_tokenizer = write_folder(tmp_path / "tokenizer", tokenizer=tokenizer)
    assert read_folder(other_tokenizer).digest != digest


def test_what_is_no_folder_is_refused(tmp_path: Path, model_folder: Path) -> None:
    for path in (tmp_path / "absent", model_folder / "tokenizer.json", Path("minishlab/potion-base-8M")):
        with pytest.raises(EncoderError, match=r"is not a folder.*nothing is downloaded"):
            read_folder(path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(model_folder: Path, name: str) -> None:
    (model_folder / name).unlink()
    with pytest.raises(EncoderError, match=f"{name} is missing"):
        read_folder(model_folder)


def test_several_tables_are_ambiguous(model_folder: Path) -> None:
    shutil.copy(model_folder / "model.safetensors", model_folder / "a.safetensors")
    assert read_folder(model_folder).table.shape == small_table().shape
    (model_folder / "model.safetensors").rename(model_folder / "b.safetensors")
    with pytest.raises(EncoderError, match=r"a\.safetensors, b\.safetensors.*Name the right one model\.safetensors"):
        read_folder(model_folder)


def test_a_folder_in_place_of_a_file_is_refused(model_folder: Path) -> None:
    (model_folder / "tokenizer.json").unlink()
    (model_folder / "tokenizer.json").mkdir()
    with pytest.raises(EncoderError, match="cannot be read"):
        read_folder(model_folder)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 100, b"\xff" * 8 + b"{}"], ids=["empty", "x", "xs", "huge"])
def test_a_damaged_table_is_refused(model_folder: Path, content: bytes) -> None:
    (model_folder / "model.safetensors").write_bytes(content)
    with pytest.raises(EncoderError, match=r"model\.safetensors is not a safetensors file"):
        read_folder(model_folder)


def test_a_truncated_table_is_refused(model_folder: Path) -> None:
    whole = (model_folder / "model.safetensors").read_bytes()
    (model_folder / "model.safetensors").write_bytes(whole[:-10])
    with pytest.raises(EncoderError, match="Get it anew"):
        read_folder(model_folder)


def test_a_type_that_numpy_lacks_is_refused(model_folder: Path) -> None:
    header = json.dumps({"embeddings": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}).encode()
    (model_folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(EncoderError, match=r"BF16.*save its tables as float16 or float32"):
        read_folder(model_folder)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"model": null}', b'"text"'], ids=lambda content: repr(content)
)
def test_a_damaged_tokenizer_is_refused(model_folder: Path, content: bytes) -> None:
    (model_folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(EncoderError, match=r"tokenizer\.json is not a tokenizer's file"):
        read_folder(model_folder)


@pytest.mark.parametrize("tables", [{"layer.0.weight": small_table()}, {"weights": small_weights()}])
def test_another_kind_of_model_is_refused(tmp_path: Path, tables: dict[str, Any]) -> None:
    folder = write_folder(tmp_path / "m", tables=tables)
    with pytest.raises(
        EncoderError, match=f"no table named embeddings or embedding.weight; it has {next(iter(tables))}"
    ):
        read_folder(folder)
