"""A small model in model2vec's format, made on the spot: a WordPiece tokenizer of letters, and a random table."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

UNKNOWN = "[UNK]"
WORDS = ("sort", "list", "python", "the", "of", "prime")
DIMENSION = 12


def small_tokenizer() -> Tokenizer:
    """Return a WordPiece tokenizer that knows ASCII letters, digits, marks and a few words."""
    letters = string.ascii_lowercase + string.digits
    tokens = ["[PAD]", UNKNOWN, *letters, *(f"##{letter}" for letter in letters), *string.punctuation, *WORDS]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def small_table(rows: int | None = None, *, seed: int = 3) -> NDArray[np.float32]:
    """Return a table of that many rows; as many as the tokenizer has tokens by default."""
    count = small_tokenizer().get_vocab_size() if rows is None else rows
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)


def small_weights(*, seed: int = 4) -> NDArray[np.float32]:
    """Return a positive weight for each token."""
    return np.random.default_rng(seed).uniform(0.1, 3.0, small_tokenizer().get_vocab_size()).astype(np.float32)


def small_mapping(rows: int, *, seed: int = 5) -> NDArray[np.int64]:
    """Return a row below `rows` for each token."""
    return np.random.default_rng(seed).integers(0, rows, small_tokenizer().get_vocab_size())


def write_folder(
    folder: Path,
    *,
    tables: dict[str, NDArray[Any]] | None = None,
    tokenizer: Tokenizer | None = None,
    table_name: str = "model.safetensors",
    tokenizer_name: str = "tokenizer.json",
) -> Path:
    """Write a model folder as model2vec saves it, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"embeddings": small_table()} if tables is None else tables, folder / table_name)
    (small_tokenizer() if tokenizer is None else tokenizer).save(str(folder / tokenizer_name))
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    return folder
