"""The default encoder: the mean of static token vectors, of unit length."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mixllm.encoders.bounds import HEAD_SHARE, head_and_tail, well_formed
from mixllm.encoders.static_files import StaticFiles, read_folder, read_wordllama
from mixllm.encoders.token_ids import TokenIds
from mixllm.encoders.token_table import TokenTable
from mixllm.errors import EncoderError, InvalidValueError

__all__ = ["DEFAULT_MAX_CHARS", "StaticEncoder"]

DEFAULT_MAX_CHARS = 8000
"""About 2,000 tokens of English, which take a few milliseconds; one query of 50 tokens takes about 0.1 ms."""

_RECIPE = 1  # counts changes of this code that change vectors; part of every fingerprint
_BATCH_TEXTS = 256  # bounds the memory that one batch's tokens take
_DIGEST_CHARS = 16


@final
class StaticEncoder:
    r"""Text to the mean of its tokens' vectors, scaled to unit length.

    Parameters
    ----------
    table
        Token vectors, shape (R, d); kept as a float32 copy.
    tokenizer
        Gives the tokens; it is not changed, and its truncation, padding and special tokens are not used.
    token_weights
        Weight of each token, shape (V,); None weighs all alike.
    token_rows
        Row of each token in `table`, shape (V,), where tokens share rows; None: token i has row i.
    fingerprint
        Identity of the encoder; None makes one from everything that changes its vectors.
    max_chars
        Longer texts are cut to this length, their beginning and their end kept (see `head_and_tail`).
    normalise
        Whether vectors have unit length. False gives the mean itself: for comparison with other software, not for a
        router, which relies on unit length.

    Raises
    ------
    EncoderError
        Where the table, the weights, the rows and the tokenizer do not fit together.
    InvalidValueError
        Where another parameter is out of range.

    Notes
    -----
    For the tokens :math:`t_1 \dots t_n` of a text,

    .. math:: x = m / \lVert m \rVert, \quad m = \frac{1}{n} \sum_i w_{t_i} v_{t_i},

    and x = 0 where n = 0 or m = 0. Unknown tokens are left out. Safe to call from any thread. The time grows with the
    number of tokens; a text of `max_chars` rare symbols has up to four tokens per character.

    Examples
    --------
    >>> encoder = StaticEncoder.wordllama()
    >>> sorting = encoder.encode("Write quicksort in Python")
    >>> sorting.shape, sorting.dtype
    ((256,), dtype('float32'))
    >>> like, unlike = encoder.encode_batch(["Sort a list in Python", "Who painted the Mona Lisa?"])
    >>> bool(sorting @ like > sorting @ unlike)
    True
    """

    __slots__ = ("_fingerprint", "_max_chars", "_normalise", "_table", "_token_ids")

    def __init__(
        self,
        *,
        table: NDArray[Any],
        tokenizer: Tokenizer,
        token_weights: NDArray[Any] | None = None,
        token_rows: NDArray[Any] | None = None,
        fingerprint: str | None = None,
        max_chars: int = DEFAULT_MAX_CHARS,
        normalise: bool = True,
    ) -> None:
        if fingerprint is not None and not fingerprint.strip():
            raise InvalidValueError("fingerprint", fingerprint, "a text that is not blank, or None")
        if type(max_chars) is not int or max_chars < 1:
            raise InvalidValueError("max_chars", max_chars, "a whole number >= 1")
        if not isinstance(normalise, bool):
            raise InvalidValueError("normalise", normalise, "True or False")
        self._max_chars = max_chars
        self._normalise = normalise
        self._table = TokenTable(table=table, token_weights=token_weights, token_rows=token_rows)
        self._token_ids = TokenIds(tokenizer=tokenizer)
        if self._token_ids.largest_id >= self._table.tokens:
            raise EncoderError(
                f"The tokenizer gives ids up to {self._token_ids.largest_id}, the table has vectors for "
                f"{self._table.tokens} tokens. Use the tokenizer and the table of one and the same model."
            )
        if fingerprint is None:
            digest = _digest_of(table, token_weights, token_rows, self._token_ids.tokenizer)
            fingerprint = _fingerprint("static", self.dimension, digest, max_chars=max_chars, normalise=normalise)
        self._fingerprint = fingerprint

    @classmethod
    def wordllama(cls, *, max_chars: int = DEFAULT_MAX_CHARS, normalise: bool = True) -> Self:
        """Return the encoder with WordLlama's table, d = 256, read from the installed package without importing it.

        Parameters
        ----------
        max_chars, normalise
            As in the class.

        Raises
        ------
        EncoderError
            Where the package ``wordllama`` is not installed, or its files are damaged.
        """
        return cls._from_files(read_wordllama(), max_chars=max_chars, normalise=normalise)

    @classmethod
    def from_folder(cls, path: str | Path, *, max_chars: int = DEFAULT_MAX_CHARS, normalise: bool = True) -> Self:
        """Return the encoder of a local folder in model2vec's format; nothing is downloaded.

        Parameters
        ----------
        path
            The folder, with ``model.safetensors`` and ``tokenizer.json`` (see `read_folder`).
        max_chars, normalise
            As in the class; they stand above the folder's ``config.json``.

        Raises
        ------
        EncoderError
            Where the folder or a file in it is missing or damaged, or its parts do not fit together.
        """
        return cls._from_files(read_folder(path), max_chars=max_chars, normalise=normalise)

    @classmethod
    def _from_files(cls, files: StaticFiles, *, max_chars: int, normalise: bool) -> Self:
        dimension = files.table.shape[-1] if files.table.ndim else 0
        try:
            return cls(
                table=files.table,
                tokenizer=files.tokenizer,
                token_weights=files.token_weights,
                token_rows=files.token_rows,
                fingerprint=_fingerprint(files.name, dimension, files.digest, max_chars=max_chars, normalise=normalise),
                max_chars=max_chars,
                normalise=normalise,
            )
        except EncoderError as error:
            raise EncoderError(f"In {files.origin}: {error}") from error

    @property
    def dimension(self) -> int:
        """Length d of the vectors."""
        return self._table.dimension

    @property
    def blocking(self) -> bool:
        """False: it takes microseconds."""
        return False

    @property
    def fingerprint(self) -> str:
        """Identity: kind, dimension, and a digest of the files' contents and of every parameter that counts."""
        return self._fingerprint

    @property
    def tokens(self) -> int:
        """Number V of tokens that have a vector."""
        return self._table.tokens

    @property
    def max_chars(self) -> int:
        """Longer texts are cut to this many characters."""
        return self._max_chars

    @property
    def normalise(self) -> bool:
        """Whether vectors have unit length."""
        return self._normalise

    def encode(self, text: str) -> NDArray[np.float32]:
        """Return the vector of `text`, shape (d,); the zero vector where it has no token."""
        return self.vector_of(self._token_ids.of([self._bounded("text", text)])[0])

    def encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`, shape (n, d), each exactly as `encode` gives it."""
        if isinstance(texts, str):
            raise InvalidValueError("texts", "one string", "a sequence of strings; use encode for one")
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, ids in enumerate(self.token_ids(texts)):
            vectors[row] = self.vector_of(ids)
        return vectors

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each of `texts`, as they are encoded: cut to `max_chars`, no unknown tokens."""
        if isinstance(texts, str):
            raise InvalidValueError("texts", "one string", "a sequence of strings")
        every: list[list[int]] = []
        for start in range(0, len(texts), _BATCH_TEXTS):
            batch = texts[start : start + _BATCH_TEXTS]
            every += self._token_ids.of([self._bounded(f"texts[{start + at}]", text) for at, text in enumerate(batch)])
        return every

    def _bounded(self, parameter: str, text: object) -> str:
        if not isinstance(text, str):
            raise InvalidValueError(parameter, type(text).__name__, "a string")
        return well_formed(head_and_tail(text, max_chars=self._max_chars))

    def vector_of(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the vector of a text with the tokens `ids`, shape (d,)."""
        if not ids:
            return np.zeros(self.dimension, dtype=np.float32)
        mean = self._table.mean(ids)
        if self._normalise:
            length = math.sqrt(float(mean @ mean))
            if length > 0:
                mean /= length
        return mean.astype(np.float32)


def _fingerprint(name: str, dimension: int, digest: str, *, max_chars: int, normalise: bool) -> str:
    settings = f"{digest}|recipe={_RECIPE}|head={HEAD_SHARE}|max_chars={max_chars}|normalise={normalise}"
    return f"{name}/{dimension}/{hashlib.sha256(settings.encode()).hexdigest()[:_DIGEST_CHARS]}"


def _digest_of(
    table: NDArray[Any], token_weights: NDArray[Any] | None, token_rows: NDArray[Any] | None, tokenizer: Tokenizer
) -> str:
    digest = hashlib.sha256(tokenizer.to_str().encode())
    for array in (table, token_weights, token_rows):
        if array is None:
            digest.update(b"none")
        else:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
