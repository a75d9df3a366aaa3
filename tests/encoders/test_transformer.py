"""The encoder of a local sentence transformer: the whole suite, its parameters, bad input."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.encoders.small_transformer import domain_texts, write_transformer

from mixllm.conformance.encoder import check_encoder
from mixllm.encoders import TransformerEncoder
from mixllm.encoders.sentence_model import SentenceModel
from mixllm.errors import EncoderError, InvalidValueError

pytestmark = pytest.mark.xdist_group("torch")


def test_it_passes_the_suite(transformer_folder: Path) -> None:
    check_encoder(lambda: TransformerEncoder.from_folder(transformer_folder))


def test_it_passes_the_suite_off_its_defaults(tmp_path: Path) -> None:
    folder = write_transformer(tmp_path / "m", seed=4, max_tokens=16, dimension=12, prompt="find: ")
    check_encoder(lambda: TransformerEncoder.from_folder(folder, max_chars=70, device="cpu"))


def test_vectors_are_the_models_at_unit_length(transformer_folder: Path) -> None:
    encoder = TransformerEncoder.from_folder(transformer_folder)
    embedding = SentenceModel(transformer_folder).forward(["the court"]).detach().numpy()[0]
    np.testing.assert_allclose(encoder.encode("the court"), embedding / np.linalg.norm(embedding), atol=1e-6)


def test_parameters_reach_attributes_and_fingerprint(transformer_folder: Path, tmp_path: Path) -> None:
    base = TransformerEncoder.from_folder(str(transformer_folder))
    short = TransformerEncoder.from_folder(transformer_folder, max_chars=9, batch=3)
    assert (base.max_chars, base.batch, base.dimension) == (8000, 1, 32)
    assert (short.max_chars, short.batch) == (9, 3)
    other = TransformerEncoder.from_folder(write_transformer(tmp_path / "other", seed=1))
    moved = TransformerEncoder.from_folder(shutil.copytree(transformer_folder, tmp_path / "moved"))
    assert len({base.fingerprint, short.fingerprint, other.fingerprint}) == 3
    assert moved.fingerprint == base.fingerprint
    assert base.fingerprint.startswith("transformer/32/")


@pytest.mark.parametrize("batch", [2, 7, 100])
def test_larger_batches_differ_in_the_last_bits_at_most(transformer_folder: Path, batch: int) -> None:
    texts = [*domain_texts(8)[0], "", "court", "x" * 900, "\ud800", "court"]
    expected = TransformerEncoder.from_folder(transformer_folder).encode_batch(texts)
    found = TransformerEncoder.from_folder(transformer_folder, batch=batch).encode_batch(texts)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert not found[24].any()


def test_a_model_that_gives_nan_is_refused(transformer_folder: Path) -> None:
    model = SentenceModel(transformer_folder)
    encoder = TransformerEncoder(model=model, fingerprint="mine")
    for weight in model.network.parameters():
        weight.data.fill_(float("nan"))
    with pytest.raises(EncoderError, match="gives NaN or infinite numbers"):
        encoder.encode("court")


@pytest.mark.parametrize("batch", [0, -1, True, 1.0, None])
def test_bad_batches_are_refused(transformer_folder: Path, batch: Any) -> None:
    with pytest.raises(InvalidValueError, match="batch must be"):
        TransformerEncoder.from_folder(transformer_folder, batch=batch)


def test_a_blank_fingerprint_is_refused(transformer_folder: Path) -> None:
    with pytest.raises(InvalidValueError, match="fingerprint"):
        TransformerEncoder(model=SentenceModel(transformer_folder), fingerprint=" ")


@pytest.mark.parametrize("text", [None, 5, b"bytes", ["list"]])
def test_what_is_no_text_is_refused(transformer_folder: Path, text: Any) -> None:
    encoder = TransformerEncoder.from_folder(transformer_folder)
    with pytest.raises(InvalidValueError, match="text must be a string"):
        encoder.encode(text)
    with pytest.raises(InvalidValueError, match=r"texts\[1\] must be a string"):
        encoder.encode_batch(["good", text])


def test_one_string_is_no_batch(transformer_folder: Path) -> None:
    with pytest.raises(InvalidValueError, match="use encode for one"):
        TransformerEncoder.from_folder(transformer_folder).encode_batch("court")
