"""Where static encoders' files are and how they are read: WordLlama's wheel, and folders in model2vec's format."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from tokenizers import Tokenizer

from mixllm.errors import EncoderError

__all__ = ["StaticFiles", "read_folder", "read_wordllama"]

_WORDLLAMA_TABLE = "weights/l2_supercat_256.safetensors"
_WORDLLAMA_TOKENIZERS = (
    "tokenizers/l2_supercat_tokenizer_config.json",
    "tokenizer/l2_supercat_tokenizer_config.json",  # where the package's own loader looks
)
_MODEL2VEC_KEY = "embeddings"
_BARE_KEY = "embedding.weight"
_NESTED = "0_StaticEmbedding"


@dataclass(frozen=True, slots=True, eq=False)
class StaticFiles:
    """A static encoder's files, read.

    Parameters
    ----------
    name
        What kind of files they are, e.g. ``model2vec``; not where they are, which changes no vector.
    origin
        Where they are, for errors.
    table
        Token vectors, shape (R, d).
    tokenizer
        The tokenizer as its file describes it.
    token_weights, token_rows
        Weight and row of each token, shape (V,), where the files have them.
    digest
        SHA-256 of the contents of both files.
    """

    name: str
    origin: str
    table: NDArray[Any]
    tokenizer: Tokenizer
    token_weights: NDArray[Any] | None
    token_rows: NDArray[Any] | None
    digest: str


def read_wordllama() -> StaticFiles:
    """Read the 256-dimensional table inside the installed ``wordllama`` package, without importing the package.

    Importing it would configure logging for the whole process and load its trainers.

    Raises
    ------
    EncoderError
        Where the package is not installed, or lacks the files.
    """
    try:
        spec = importlib.util.find_spec("wordllama")
    except ValueError:  # somebody put a module without a spec into sys.modules
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise EncoderError("The package wordllama, which holds the default encoder, is missing: pip install wordllama")
    folder = Path(next(iter(spec.submodule_search_locations)))
    tokenizers = [folder / name for name in _WORDLLAMA_TOKENIZERS]
    tokenizer = next((path for path in tokenizers if path.is_file()), tokenizers[0])
    return _read(
        name="wordllama", folder=folder, table=folder / _WORDLLAMA_TABLE, tokenizer=tokenizer, keys=(_BARE_KEY,)
    )


def read_folder(path: str | Path) -> StaticFiles:
    """Read a local folder in model2vec's format, or a bare one with one table and one tokenizer.

    Parameters
    ----------
    path
        The folder. It holds ``tokenizer.json`` (or one other ``*tokenizer*.json``) and ``model.safetensors`` (or one
        other ``*.safetensors``) with the table ``embeddings`` or ``embedding.weight``, and optionally ``weights`` and
        ``mapping``; they may lie in ``0_StaticEmbedding`` as sentence-transformers saves them.

    Raises
    ------
    EncoderError
        Where a file is missing, ambiguous or damaged.

    Notes
    -----
    ``config.json`` is not read. Its ``normalize`` says whether model2vec returns unit vectors, which the router always
    wants, and its ``max_length`` cuts the end of a text, which often is the question.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise EncoderError(
            f"{folder} is not a folder. Give the folder of a saved model2vec model; nothing is downloaded."
        )
    if not any(folder.glob("*.safetensors")) and (folder / _NESTED).is_dir():
        folder = folder / _NESTED
    return _read(
        name="model2vec",
        folder=folder,
        table=_the_one(folder, "model.safetensors", "*.safetensors"),
        tokenizer=_the_one(folder, "tokenizer.json", "*tokenizer*.json"),
        keys=(_MODEL2VEC_KEY, _BARE_KEY),
    )


def _the_one(folder: Path, usual: str, pattern: str) -> Path:
    """Return the file `usual`, or the only one that matches `pattern`."""
    if (folder / usual).is_file():
        return folder / usual
    found = sorted(folder.glob(pattern))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise EncoderError(f"{folder} has several files {pattern} ({names}). Name the right one {usual}.")
    return found[0] if found else folder / usual


def _read(*, name: str, folder: Path, table: Path, tokenizer: Path, keys: tuple[str, ...]) -> StaticFiles:
    table_bytes, tokenizer_bytes = _contents(table), _contents(tokenizer)
    try:
        arrays = load(table_bytes)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        # safetensors answers a type that NumPy lacks, such as BF16, with a KeyError.
        raise EncoderError(
            f"{table} is not a safetensors file that NumPy can read ({type(error).__name__}: {error}). "
            "Get it anew, or save its tables as float16 or float32."
        ) from error
    key = next((key for key in keys if key in arrays), None)
    if key is None:
        raise EncoderError(
            f"{table} has no table named {' or '.join(keys)}; it has {', '.join(sorted(arrays)) or 'none'}. "
            "Is this a static encoder? Sentence transformers with layers are not."
        )
    digest = hashlib.sha256(hashlib.sha256(table_bytes).digest() + hashlib.sha256(tokenizer_bytes).digest())
    try:
        parsed = Tokenizer.from_buffer(tokenizer_bytes)
    except ValueError as error:
        raise EncoderError(f"{tokenizer} is not a tokenizer's file ({error}). Get it anew.") from error
    return StaticFiles(
        name=name,
        origin=str(folder),
        table=arrays[key],
        tokenizer=parsed,
        token_weights=arrays.get("weights"),
        token_rows=arrays.get("mapping"),
        digest=digest.hexdigest(),
    )


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise EncoderError(f"{path} is missing. Get the encoder's files anew: pip install, or copy them.") from error
    except OSError as error:
        raise EncoderError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
