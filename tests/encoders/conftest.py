"""What the tests of the encoders share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.encoders.small_model import write_folder
from tests.encoders.small_transformer import write_transformer

from mixllm.encoders import StaticEncoder


@pytest.fixture(scope="session")
def wordllama() -> StaticEncoder:
    """The default encoder, loaded once."""
    return StaticEncoder.wordllama()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A small model2vec folder."""
    return write_folder(tmp_path / "model")


@pytest.fixture
def transformer_folder(tmp_path: Path) -> Path:
    """A tiny sentence transformer."""
    return write_transformer(tmp_path / "transformer")
