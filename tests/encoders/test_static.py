"""The default encoder: mean of token vectors, unit length, the same in batches, told apart by its fingerprint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.encoders.small_model import (
    DIMENSION,
    small_mapping,
    small_table,
    small_tokenizer,
    small_weights,
    write_folder,
)
from tokenizers import Tokenizer, models, pre_tokenizers

from mixllm.encoders import StaticEncoder, head_and_tail, well_formed
from mixllm.encoders.static import DEFAULT_MAX_CHARS
from mixllm.errors import EncoderError, InvalidValueError

TEXT = "Sort the list of primes in Python!"
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=60)


def small(**changes: Any) -> StaticEncoder:
    return StaticEncoder(**{"table": small_table(), "tokenizer": small_tokenizer(), **changes})


def unit(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(vector / np.linalg.norm(vector))


def test_the_vector_is_the_scaled_mean_of_the_tokens_vectors() -> None:
    ids = small_tokenizer().encode(TEXT, add_special_tokens=False).ids
    np.testing.assert_allclose(small().encode(TEXT), unit(small_table()[ids].mean(axis=0)), atol=1e-6)


def test_weights_and_rows_work_as_in_model2vec() -> None:
    table, weights, rows = small_table(20), small_weights(), small_mapping(20)
    ids = small_tokenizer().encode(TEXT, add_special_tokens=False).ids
    expected = (table[rows[ids]] * weights[ids][:, None]).mean(axis=0)
    encoder = small(table=table, token_weights=weights, token_rows=rows)
    np.testing.assert_allclose(encoder.encode(TEXT), unit(expected), atol=1e-6)
    plain = small(table=table, token_weights=weights, token_rows=rows, normalise=False)
    np.testing.assert_allclose(plain.encode(TEXT), expected, atol=1e-6)


REFERENCE = """
import json, pathlib, sys, wordllama
model = wordllama.WordLlama.load(cache_dir=pathlib.Path(wordllama.__file__).parent)
print(json.dumps(model.embed(json.load(sys.stdin), norm=True).tolist()))
"""


def test_vectors_are_those_of_the_wordllama_package(wordllama: StaticEncoder) -> None:
    texts = ["What is it?", TEXT, "Grüße \U0001f600", "  two  spaces ", "x" * 3_000]
    done = subprocess.run(
        [sys.executable, "-c", REFERENCE], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(wordllama.encode_batch(texts), json.loads(done.stdout), atol=1e-5)


def test_the_wordllama_package_is_not_imported() -> None:
    code = (
        "import sys; from mixllm.encoders import StaticEncoder; StaticEncoder.wordllama().encode('hi'); "
        "print([name for name in sys.modules if name.split('.')[0] == 'wordllama'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_texts_alike_are_near(wordllama: StaticEncoder) -> None:
    sorting, similar, other = wordllama.encode_batch(
        ["Write a Python function that sorts a list", "How do I sort an array in Python?", "Who painted the Mona Lisa?"]
    )
    assert sorting @ similar > sorting @ other + 0.2


def test_defaults() -> None:
    encoder = small()
    assert (encoder.dimension, encoder.max_chars, encoder.normalise) == (DIMENSION, DEFAULT_MAX_CHARS, True)
    assert encoder.fingerprint.startswith(f"static/{DIMENSION}/")


def test_every_parameter_reaches_its_attribute_and_its_effect() -> None:
    base = small()
    long = "sort " * 40 + "the list"
    assert small(max_chars=20).max_chars == 20
    np.testing.assert_array_equal(small(max_chars=20).encode(long), base.encode(head_and_tail(long, max_chars=20)))
    assert not np.allclose(small(max_chars=20).encode(long), base.encode(long))
    plain = small(normalise=False)
    assert plain.normalise is False
    np.testing.assert_allclose(unit(plain.encode(TEXT)), base.encode(TEXT), atol=1e-6)
    assert abs(np.linalg.norm(plain.encode(TEXT)) - 1) > 0.01
    assert small(fingerprint="mine/1").fingerprint == "mine/1"
    assert not np.allclose(small(table=small_table(seed=9)).encode(TEXT), base.encode(TEXT))
    assert not np.allclose(small(token_weights=small_weights()).encode(TEXT), base.encode(TEXT))
    rows = np.arange(len(small_table()))[::-1]
    assert not np.allclose(small(token_rows=rows).encode(TEXT), base.encode(TEXT))


def test_every_parameter_of_the_ready_made_encoders_arrives(model_folder: Path) -> None:
    long = "sort " * 40 + "the list"
    for make in (StaticEncoder.wordllama, lambda **given: StaticEncoder.from_folder(model_folder, **given)):
        base, short, plain = make(), make(max_chars=20), make(normalise=False)
        assert (base.max_chars, base.normalise) == (DEFAULT_MAX_CHARS, True)
        assert (short.max_chars, plain.normalise) == (20, False)
        np.testing.assert_array_equal(short.encode(long), base.encode(head_and_tail(long, max_chars=20)))
        assert abs(np.linalg.norm(plain.encode(TEXT)) - 1) > 0.01
        assert len({base.fingerprint, short.fingerprint, plain.fingerprint}) == 3


def test_whatever_changes_vectors_changes_the_fingerprint() -> None:
    other_tokenizer = small_tokenizer()
    other_tokenizer.add_tokens(["primes"])
    grown = small_table(len(small_table()) + 1)
    fingerprints = [
        small().fingerprint,
        small(max_chars=20).fingerprint,
        small(normalise=False).fingerprint,
        small(table=small_table(seed=9)).fingerprint,
        small(table=grown).fingerprint,
        small(table=grown, tokenizer=other_tokenizer).fingerprint,
        small(token_weights=small_weights()).fingerprint,
        small(token_weights=small_weights(seed=9)).fingerprint,
        small(token_rows=np.arange(len(small_table()))).fingerprint,
        small(token_rows=np.arange(len(small_table()))[::-1]).fingerprint,
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert small().fingerprint == fingerprints[0]


def test_fingerprints_of_files_follow_contents_and_not_the_place(tmp_path: Path) -> None:
    one = StaticEncoder.from_folder(write_folder(tmp_path / "one"))
    same = StaticEncoder.from_folder(write_folder(tmp_path / "two"))
    other = StaticEncoder.from_folder(write_folder(tmp_path / "three", tables={"embeddings": small_table(seed=9)}))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.fingerprint.startswith(f"model2vec/{DIMENSION}/")


def test_wordllamas_fingerprint_is_stable(wordllama: StaticEncoder) -> None:
    assert wordllama.fingerprint.startswith("wordllama/256/")
    assert StaticEncoder.wordllama().fingerprint == wordllama.fingerprint


@settings(derandomize=True, deadline=None, max_examples=60)
@given(texts=st.lists(ANY_TEXT, max_size=6))
def test_a_batch_is_its_texts_one_by_one(wordllama: StaticEncoder, texts: list[str]) -> None:
    batch = wordllama.encode_batch(texts)
    assert batch.shape == (len(texts), 256)
    for text, vector in zip(texts, batch, strict=True):
        np.testing.assert_array_equal(vector, wordllama.encode(text))
        np.testing.assert_array_equal(vector, wordllama.encode(well_formed(text)))
        assert np.linalg.norm(vector) == pytest.approx(1.0 if text else 0.0, abs=1e-6)


def test_a_batch_longer_than_a_chunk_keeps_its_order() -> None:
    texts = [f"sort {number}" for number in range(600)]
    encoder = small()
    np.testing.assert_array_equal(encoder.encode_batch(texts), np.stack([encoder.encode(text) for text in texts]))


@pytest.mark.parametrize("text", ["", " ", "日本", "日本 中国"])
def test_a_text_without_known_tokens_is_zero(text: str) -> None:
    assert not small().encode(text).any()


def test_vectors_that_cancel_give_zero() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder = StaticEncoder(table=np.array([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]]), tokenizer=tokenizer)
    assert not encoder.encode("a b").any()
    np.testing.assert_allclose(encoder.encode("a a b"), unit(np.array([1.0, 2.0])), atol=1e-7)


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e20, 3e37])
def test_tables_of_any_scale_give_unit_vectors(scale: float) -> None:
    encoder = small(table=small_table().astype(np.float64) * scale)
    assert np.linalg.norm(encoder.encode(TEXT)) == pytest.approx(1.0, abs=1e-6)


def test_a_tokenizer_that_truncates_and_pads_is_neither_used_so_nor_changed() -> None:
    tokenizer = small_tokenizer()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=50)
    before = tokenizer.to_str()
    np.testing.assert_array_equal(small(tokenizer=tokenizer).encode(TEXT), small().encode(TEXT))
    assert tokenizer.to_str() == before


def test_a_table_with_spare_rows_is_taken() -> None:
    spare = small_table(len(small_table()) + 10)
    np.testing.assert_array_equal(small(table=spare).encode(TEXT), small(table=spare[:-10]).encode(TEXT))


@pytest.mark.parametrize("column", ["token_weights", "token_rows", None])
def test_a_vocabulary_larger_than_the_table_is_refused(column: str | None) -> None:
    rows = len(small_table()) - 1
    changes: dict[str, Any] = {"table": small_table(rows)}
    if column == "token_weights":
        changes[column] = small_weights()[:-1]
    if column == "token_rows":
        changes[column] = np.arange(rows)
    with pytest.raises(EncoderError, match=f"ids up to {rows}, the table has vectors for {rows} tokens"):
        small(**changes)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"embeddings": small_table().ravel()}, r"table has the shape"),
        ({"embeddings": np.array(1.0)}, r"table has the shape \(\)"),
        ({"embeddings": small_table(5)}, "The tokenizer gives ids up to"),
        ({"embeddings": np.full_like(small_table(), np.nan)}, "NaN or infinite"),
        ({"embeddings": small_table(), "weights": small_weights()[:4]}, "4 weights for"),
        ({"embeddings": small_table(5), "mapping": small_mapping(9)}, "token_rows points to rows"),
    ],
)
def test_files_that_do_not_fit_are_refused_with_their_folder(
    tmp_path: Path, tables: dict[str, Any], message: str
) -> None:
    folder = write_folder(tmp_path / "misfit", tables=tables)
    with pytest.raises(EncoderError, match=message) as caught:
        StaticEncoder.from_folder(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("max_chars", 0),
        ("max_chars", -5),
        ("max_chars", 10.0),
        ("max_chars", True),
        ("max_chars", None),
        ("normalise", "yes"),
        ("normalise", 1),
        ("fingerprint", ""),
        ("fingerprint", "  "),
    ],
)
def test_bad_parameters_are_refused(parameter: str, value: object) -> None:
    with pytest.raises(InvalidValueError) as caught:
        small(**{parameter: value})
    assert caught.value.parameter == parameter


def test_constructors_are_keyword_only(model_folder: Path) -> None:
    with pytest.raises(TypeError):
        StaticEncoder(small_table(), small_tokenizer())  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        StaticEncoder.from_folder(model_folder, 100)  # type: ignore[call-arg]


@pytest.mark.parametrize("text", [None, 5, b"bytes", ["sort"]])
def test_what_is_no_text_is_refused(text: Any) -> None:
    encoder = small()
    with pytest.raises(InvalidValueError, match="text must be a string"):
        encoder.encode(text)
    with pytest.raises(InvalidValueError, match=r"texts\[1\] must be a string"):
        encoder.encode_batch(["sort", text])


def test_one_string_is_no_batch() -> None:
    with pytest.raises(InvalidValueError, match="use encode for one"):
        small().encode_batch("sort")
