"""The trained encoder: static token vectors, and beside them what each word of a query says about its tags."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders.static import StaticEncoder
from mixllm.errors import StateError

__all__ = ["LexicalEncoder"]

_LARGEST = 1e6
"""No entry that training makes comes near; beyond it sums of squares in single precision lose what is small."""

_ARRAYS = ("lexical_table", "lexical_rarity")


@final
class LexicalEncoder:
    r"""A static encoding s ∈ R^d with a lexical block u ∈ R^m behind it, together of unit length.

    A mean of token vectors forgets which rare words a query has; a line per token that was learned from tagged
    queries remembers what they say about the tags.

    Parameters
    ----------
    base
        Gives s and the tokens.
    table
        What each token says about each of m tags, float32, shape (V, m) over the base's V tokens.
    rarity
        Inverse document frequency of each token, >= 0, shape (V,); 0 leaves a token out.

    Raises
    ------
    StateError
        Where shapes or values do not fit, or not the base encoder.

    Notes
    -----
    For the set :math:`S` of a text's tokens with rarities :math:`r_t` and rows :math:`v_t`,

    .. math:: u = \sum_{t \in S} r_t v_t \Big/ \sqrt{\sum_{t \in S} r_t^2}, \qquad x = (s, u) / \sqrt{\lVert s
       \rVert^2 + \lVert u \rVert^2},

    i.e. a linear model on the text's TF-IDF vector with binary term frequencies. Dividing x by the length of its
    first d entries gives s and u back.

    Examples
    --------
    >>> base = StaticEncoder.wordllama()
    >>> table = np.zeros((base.tokens, 2), np.float32)
    >>> encoder = LexicalEncoder(base=base, table=table, rarity=np.ones(base.tokens))
    >>> encoder.encode("Why is the sky blue?").shape
    (258,)
    """

    __slots__ = ("_fingerprint", "_rarity", "_rows", "_table", "base")

    def __init__(self, *, base: StaticEncoder, table: NDArray[np.float32], rarity: NDArray[np.floating]) -> None:
        self.base = base
        if np.ndim(table) != 2 or len(table) != base.tokens or table.shape[1] < 1:
            raise StateError(
                f"The lexical table has shape {np.shape(table)}, expected ({base.tokens}, m). Train again."
            )
        if np.shape(rarity) != (base.tokens,):
            raise StateError(f"The rarities have shape {np.shape(rarity)}, expected ({base.tokens},). Train again.")
        if not ((np.abs(table) <= _LARGEST).all() and (rarity >= 0).all() and (rarity <= _LARGEST).all()):
            raise StateError(
                "The lexical table holds values that are not finite or far too large, or a rarity below 0. Train again."
            )
        self._table = np.array(table, np.float32, order="C")
        self._rarity = np.array(rarity, np.float32)
        # One gather gives both sums: the last column is r², for the length of the TF-IDF vector.
        weighted = self._table * self._rarity[:, None]
        self._rows = np.column_stack([weighted, self._rarity**2]).astype(np.float32, order="C")
        digest = hashlib.sha256(self._table.tobytes() + self._rarity.tobytes()).hexdigest()[:16]
        self._fingerprint = f"{base.fingerprint}+lexical-{table.shape[1]}-{digest}"

    @property
    def dimension(self) -> int:
        """Length d + m of the vectors."""
        return self.base.dimension + self.lexical_dimension

    @property
    def lexical_dimension(self) -> int:
        """Length m of the lexical block."""
        return int(self._rows.shape[1]) - 1

    @property
    def blocking(self) -> bool:
        """Whether that of the encoder underneath blocks."""
        return self.base.blocking

    @property
    def fingerprint(self) -> str:
        """Identity: that of the base, and a digest of the table."""
        return self._fingerprint

    def encode(self, text: str) -> NDArray[np.float32]:
        """Return the vector of `text`, shape (d + m,); the zero vector where it has no token."""
        ids = self.base.token_ids([text])[0]
        return self._joined(self.base.vector_of(ids), ids)

    def encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`, shape (n, d + m), each exactly as `encode` gives it."""
        every = self.base.token_ids(texts)
        vectors = np.zeros((len(every), self.dimension), np.float32)
        for row, ids in enumerate(every):
            vectors[row] = self._joined(self.base.vector_of(ids), ids)
        return vectors

    def extend(self, vectors: NDArray[np.float32], token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the encodings of texts whose base vectors, shape (n, d), and tokens are known already."""
        return np.array([self._joined(s, ids) for s, ids in zip(vectors, token_ids, strict=True)], np.float32).reshape(
            len(vectors), self.dimension
        )

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return table and rarities, ready to be saved."""
        return {"lexical_table": self._table.copy(), "lexical_rarity": self._rarity.copy()}

    @classmethod
    def from_arrays(cls, base: StaticEncoder, arrays: Mapping[str, NDArray[np.float32]]) -> Self:
        """Return the encoder that `arrays` were made of; raises `StateError` where they are damaged."""
        for name in _ARRAYS:
            if name not in arrays:
                raise StateError(f"The trained encoder lacks the array {name!r}. Train again.")
        return cls(base=base, table=arrays["lexical_table"], rarity=arrays["lexical_rarity"])

    def _joined(self, vector: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.float32]:
        if not ids:
            return np.zeros(self.dimension, np.float32)
        sums = np.add.reduce(self._rows.take(sorted(set(ids)), axis=0), axis=0, dtype=np.float64)
        joined = np.empty(self.dimension, np.float64)
        joined[: len(vector)] = vector
        joined[len(vector) :] = sums[:-1] / math.sqrt(sums[-1]) if sums[-1] > 0 else 0.0
        length = math.sqrt(float(joined @ joined))
        if length > 0:
            joined /= length
        return joined.astype(np.float32)
