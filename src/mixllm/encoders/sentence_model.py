"""A sentence transformer read from a local folder: bounded texts in, embeddings as torch tensors out."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

from safetensors import SafetensorError
from tokenizers import Tokenizer

from mixllm.encoders.bounds import HEAD_SHARE, head_and_tail, well_formed
from mixllm.errors import EncoderError, InvalidValueError, MissingExtraError

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

__all__ = ["DEFAULT_MAX_CHARS", "SentenceModel", "digest_of_folder"]

DEFAULT_MAX_CHARS = 8000
"""As the default encoder's. What remains is cut to the tokens that the model reads."""

_LONGEST_TOKENS = 8192  # for models that state no limit of their own
_READ = frozenset({".json", ".model", ".safetensors", ".txt"})
_JOINT = "\n"
_LOADING = (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError, SafetensorError)
"""What the libraries raise for folders that are no model; they have no error of their own for it."""


@final
class SentenceModel:
    """A sentence transformer of a local folder, in float32.

    Parameters
    ----------
    folder
        As sentence-transformers saves it, or a bare transformer, whose tokens are averaged. Nothing is downloaded, no
        code of the folder is run, and weights are read from safetensors alone.
    device
        Where it computes, e.g. ``cpu`` or ``cuda``.
    max_chars
        Longer texts are cut to this length before anything else, their beginning and their end kept.

    Raises
    ------
    MissingExtraError
        Where sentence-transformers is not installed.
    EncoderError
        Where the folder holds no such model.
    InvalidValueError
        Where `max_chars` is below 1.

    Notes
    -----
    A text of more tokens than the model reads keeps a quarter of them from its beginning and the rest from its end,
    as `head_and_tail` does for characters; the library alone would cut off the end, which often is the question. The
    model's default prompt, where it has one, is put before each text.
    """

    __slots__ = ("_lock", "_prompt", "_tokenizer", "device", "dimension", "folder", "max_chars", "network")

    def __init__(self, folder: str | Path, *, device: str = "cpu", max_chars: int = DEFAULT_MAX_CHARS) -> None:
        if type(max_chars) is not int or max_chars < 1:
            raise InvalidValueError("max_chars", max_chars, "a whole number >= 1")
        self.folder = Path(folder)
        self.device = device
        self.max_chars = max_chars
        self.network: SentenceTransformer = _loaded(self.folder, device)
        self._lock = threading.Lock()
        self._prompt = _default_prompt(self.network)
        self._tokenizer = _plain_tokenizer(self.network, self.folder)
        self.dimension = self._probed_dimension()

    @property
    def max_tokens(self) -> int:
        """Most tokens of one text that the model reads, its special tokens included."""
        limit = self.network.max_seq_length
        return _LONGEST_TOKENS if limit is None else min(int(limit), _LONGEST_TOKENS)

    def bounded(self, text: str) -> str | None:
        """Return what the model reads of `text`; None where `text` has no token."""
        text = well_formed(head_and_tail(text, max_chars=self.max_chars))
        tokens = self._tokenizer.encode(text, add_special_tokens=False)
        if not tokens.ids:
            return None
        kept = self.max_tokens - self._tokenizer.num_special_tokens_to_add(is_pair=False) - self._prompt_tokens()
        if len(tokens.ids) <= kept:
            return text
        head = int(kept * HEAD_SHARE)
        tail = max(1, kept - head)
        end = tokens.offsets[head - 1][1] if head else 0
        start: int = tokens.offsets[len(tokens.ids) - tail][0]
        return text[:end] + _JOINT + text[start:] if head else text[start:]

    def token_ids(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a bounded text, without special ones."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the embeddings of bounded texts as the model gives them, shape (n, d), padded to one length."""
        with self._lock:  # the library's tokenizer sets its truncation and its padding at each call
            features = self.network.preprocess(list(texts), prompt=self._prompt)
        moved = {name: value.to(self.device) if hasattr(value, "to") else value for name, value in features.items()}
        return self.network(moved)["sentence_embedding"]

    def _prompt_tokens(self) -> int:
        return len(self._tokenizer.encode(self._prompt, add_special_tokens=False).ids) if self._prompt else 0

    def _probed_dimension(self) -> int:
        import torch

        self.network.eval()
        try:
            with torch.inference_mode():
                return int(self.forward(["a"]).shape[1])
        except _LOADING as error:
            raise EncoderError(
                f"The model in {self.folder} does not encode ({type(error).__name__}: {error}). Is it one for text?"
            ) from error


def digest_of_folder(folder: Path) -> str:
    """Return the SHA-256 of a model's files, names and contents; where the folder is does not count.

    Raises
    ------
    EncoderError
        Where a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder)
            if file.suffix not in _READ or any(part.startswith(".") for part in name.parts) or not file.is_file():
                continue
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{name.as_posix()}\0{content}\0".encode())
    except OSError as error:
        raise EncoderError(f"{folder} cannot be read ({error.strerror}). Check its permissions.") from error
    return digest.hexdigest()


def _loaded(folder: Path, device: str) -> SentenceTransformer:
    _check_files(folder)
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtraError("A sentence transformer", "train") from error
    try:
        with _no_progress_bars(logging):
            network = SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
    except _LOADING as error:
        raise EncoderError(
            f"{folder} holds no sentence transformer that can be loaded on {device} ({type(error).__name__}: "
            f"{error}). Give a folder that sentence-transformers saved."
        ) from error
    return network.float()


def _check_files(folder: Path) -> None:
    """Refuse what is no model with safetensors before anything heavy is imported."""
    if not folder.is_dir():
        raise EncoderError(
            f"{folder} is not a folder. Give the folder of a saved sentence transformer; nothing is downloaded."
        )
    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise EncoderError(
            f"{folder} holds neither modules.json nor config.json. Give a folder that sentence-transformers saved."
        )
    pickled = [file for file in sorted(folder.rglob("*.bin")) if not any(file.parent.glob("*.safetensors"))]
    if pickled or not any(folder.rglob("*.safetensors")):
        found = f"; it has {pickled[0].relative_to(folder)}, a pickle" if pickled else ""
        raise EncoderError(
            f"{folder} lacks weights in safetensors{found}. Save the model anew with safe_serialization=True."
        )


@contextmanager
def _no_progress_bars(logging: object) -> Iterator[None]:
    """Keep transformers from drawing on the terminal while it loads."""
    shown = logging.is_progress_bar_enabled()  # type: ignore[attr-defined]
    logging.disable_progress_bar()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[attr-defined]


def _default_prompt(network: SentenceTransformer) -> str | None:
    name = network.default_prompt_name
    return (network.prompts.get(name) or None) if name else None


def _plain_tokenizer(network: SentenceTransformer, folder: Path) -> Tokenizer:
    """Return the model's tokenizer as a copy that never truncates, pads or changes, and so is safe in threads."""
    own = network.tokenizer
    fast = own if isinstance(own, Tokenizer) else getattr(own, "backend_tokenizer", None)
    if not isinstance(fast, Tokenizer):
        raise EncoderError(f"{folder} has no fast tokenizer. Save the model with its tokenizer.json.")
    copy = Tokenizer.from_str(fast.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy
