"""The encoder for a sentence transformer of one's own, e.g. one that `mixllm.tags.fine_tuning` made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders.bounds import HEAD_SHARE
from mixllm.encoders.sentence_model import DEFAULT_MAX_CHARS, SentenceModel, digest_of_folder
from mixllm.errors import EncoderError, InvalidValueError

__all__ = ["TransformerEncoder"]

_RECIPE = 1  # counts changes of this code that change vectors; part of every fingerprint
_DIGEST_CHARS = 16


@final
class TransformerEncoder:
    """Text to the embedding of a sentence transformer, scaled to unit length.

    Needs the extra ``train``. On two CPU cores a small model takes 20 to 30 ms for a query of 50 tokens, where the
    default encoder takes 0.1.

    Parameters
    ----------
    model
        The model; it is put into evaluation mode.
    fingerprint
        Identity of the encoder.
    batch
        Texts that `encode_batch` computes at once. With 1, the default, a batch gives exactly what `encode` gives.
        With more it is faster, above all on a GPU, but sums are taken in another order: the last bits of the vectors
        differ. Only texts of the same number of tokens are put together, so that no padding changes anything.

    Raises
    ------
    InvalidValueError
        Where `batch` is below 1, or the fingerprint blank.

    Notes
    -----
    x = e / ‖e‖ for the embedding e; 0 where the text has no token. Safe to call from any thread.
    """

    __slots__ = ("_batch", "_fingerprint", "_model")

    def __init__(self, *, model: SentenceModel, fingerprint: str, batch: int = 1) -> None:
        if not fingerprint.strip():
            raise InvalidValueError("fingerprint", fingerprint, "a text that is not blank")
        if type(batch) is not int or batch < 1:
            raise InvalidValueError("batch", batch, "a whole number >= 1")
        model.network.eval()
        self._model = model
        self._fingerprint = fingerprint
        self._batch = batch

    @classmethod
    def from_folder(
        cls, path: str | Path, *, max_chars: int = DEFAULT_MAX_CHARS, batch: int = 1, device: str = "cpu"
    ) -> Self:
        """Return the encoder of a local folder that sentence-transformers saved; nothing is downloaded.

        Parameters
        ----------
        path
            The folder.
        max_chars
            Longer texts are cut to this length, their beginning and their end kept; what remains is cut in the same
            way to the tokens that the model reads.
        batch
            As in the class.
        device
            Where it computes, e.g. ``cpu`` or ``cuda``; the vectors' last bits depend on it.

        Raises
        ------
        MissingExtraError
            Where sentence-transformers is not installed.
        EncoderError
            Where the folder or a file in it is missing or damaged, or the weights are not in safetensors.
        InvalidValueError
            Where `max_chars` or `batch` is below 1.
        """
        model = SentenceModel(path, device=device, max_chars=max_chars)
        settings = f"{digest_of_folder(model.folder)}|recipe={_RECIPE}|head={HEAD_SHARE}|max_chars={max_chars}"
        digest = hashlib.sha256(settings.encode()).hexdigest()[:_DIGEST_CHARS]
        return cls(model=model, fingerprint=f"transformer/{model.dimension}/{digest}", batch=batch)

    @property
    def dimension(self) -> int:
        """Length d of the vectors."""
        return self._model.dimension

    @property
    def blocking(self) -> bool:
        """True: it takes tens of milliseconds."""
        return True

    @property
    def fingerprint(self) -> str:
        """Identity: kind, dimension, and a digest of the folder's files and of `max_chars`."""
        return self._fingerprint

    @property
    def max_chars(self) -> int:
        """Longer texts are cut to this many characters."""
        return self._model.max_chars

    @property
    def batch(self) -> int:
        """Texts that are computed at once."""
        return self._batch

    def encode(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector of `text`, shape (d,); the zero vector where it has no token."""
        bounded = self._bounded("text", text)
        return np.zeros(self.dimension, dtype=np.float32) if bounded is None else self._vectors([bounded])[0]

    def encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the unit vectors of `texts`, shape (n, d), each as `encode` gives it (see `batch`)."""
        if isinstance(texts, str):
            raise InvalidValueError("texts", "one string", "a sequence of strings; use encode for one")
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        bounded = [self._bounded(f"texts[{row}]", text) for row, text in enumerate(texts)]
        for rows in self._rows_together(bounded):
            vectors[rows] = self._vectors([str(bounded[row]) for row in rows])
        return vectors

    def _rows_together(self, texts: Sequence[str | None]) -> list[list[int]]:
        """Return which rows to compute at once: rows with tokens, equally many within each list."""
        if self._batch == 1:
            return [[row] for row, text in enumerate(texts) if text is not None]
        lengths = sorted((len(self._model.token_ids(text)), row) for row, text in enumerate(texts) if text is not None)
        together = []
        for _, group in groupby(lengths, key=lambda one: one[0]):
            rows = [row for _, row in group]
            together += [rows[start : start + self._batch] for start in range(0, len(rows), self._batch)]
        return together

    def _bounded(self, parameter: str, text: object) -> str | None:
        if not isinstance(text, str):
            raise InvalidValueError(parameter, type(text).__name__, "a string")
        return self._model.bounded(text)

    def _vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            embeddings = self._model.forward(texts).cpu().numpy()
        if not np.isfinite(embeddings).all():
            raise EncoderError(
                f"The model in {self._model.folder} gives NaN or infinite numbers. Train or get it anew."
            )
        return _unit(embeddings)


def _unit(embeddings: NDArray[Any]) -> NDArray[np.float32]:
    vectors = np.asarray(embeddings, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    unit: NDArray[np.float32] = directions.astype(np.float32)
    return unit
