"""The double for tests: an encoder without files that hashes words, deterministic on every machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders.bounds import well_formed
from mixllm.errors import InvalidValueError

__all__ = ["HashingEncoder"]

_TOKEN = re.compile(r"\w+|[^\w\s]")
_PAIR_JOINT = "\x1f"  # in no token, so that no pair looks like a word
_SEED_BYTES = 8


@final
class HashingEncoder:
    """Text to the unit vector of its words and pairs of neighbouring words, by signed feature hashing.

    Texts that share words are near each other, and nothing more: it knows no language. Use it where a test, or a
    program without the default encoder's files, needs vectors that never change.

    Parameters
    ----------
    dimension
        Length d of the vectors, at least 1.
    seed
        Chooses the hash function, from 0 to 2**64 - 1.

    Raises
    ------
    InvalidValueError
        Where a parameter is out of range.

    Notes
    -----
    Every feature f (a case-folded word, a symbol, or a pair of neighbours) adds its sign s(f) = ±1 at its place
    h(f) mod d; h and s are bits of BLAKE2b, salted with the seed. Should all features of a text cancel, its first one
    stands alone, so that every text with a word has unit length.

    References
    ----------
    K. Weinberger et al.: Feature Hashing for Large Scale Multitask Learning. ICML 2009, arXiv:0902.2206.

    Examples
    --------
    >>> encoder = HashingEncoder(dimension=256)
    >>> one, near, far = encoder.encode_batch(["sort a list", "sort a long list", "who painted it"])
    >>> bool(one @ near > one @ far)
    True
    """

    __slots__ = ("_dimension", "_salt", "_seed")

    def __init__(self, *, dimension: int = 64, seed: int = 0) -> None:
        if type(dimension) is not int or dimension < 1:
            raise InvalidValueError("dimension", dimension, "a whole number >= 1")
        if type(seed) is not int or not 0 <= seed < 1 << (8 * _SEED_BYTES):
            raise InvalidValueError("seed", seed, "a whole number from 0 to 2**64 - 1")
        self._dimension = dimension
        self._seed = seed
        self._salt = seed.to_bytes(_SEED_BYTES, "little")

    @property
    def dimension(self) -> int:
        """Length d of the vectors."""
        return self._dimension

    @property
    def seed(self) -> int:
        """What chooses the hash function."""
        return self._seed

    @property
    def blocking(self) -> bool:
        """False: it takes microseconds."""
        return False

    @property
    def fingerprint(self) -> str:
        """Identity: kind, dimension and seed."""
        return f"hashing-1/{self._dimension}/{self._seed}"

    def encode(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector of `text`, shape (d,); the zero vector where it has neither word nor symbol."""
        if not isinstance(text, str):
            raise InvalidValueError("text", type(text).__name__, "a string")
        tokens = _TOKEN.findall(well_formed(text).casefold())
        if not tokens:
            return np.zeros(self._dimension, dtype=np.float32)
        features = [*tokens, *(_PAIR_JOINT.join(pair) for pair in pairwise(tokens))]
        hashes = np.array([self._hash(feature) for feature in features], dtype=np.uint64)
        places = (hashes >> np.uint64(1)) % np.uint64(self._dimension)
        signs = np.where(hashes & np.uint64(1), 1.0, -1.0)
        vector = np.bincount(places.astype(np.intp), weights=signs, minlength=self._dimension)
        if not vector.any():
            vector[places[0]] = signs[0]
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of `texts`, shape (n, d), each exactly as `encode` gives it."""
        if isinstance(texts, str):
            raise InvalidValueError("texts", "one string", "a sequence of strings; use encode for one")
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self.encode(text)
        return vectors

    def _hash(self, feature: str) -> int:
        return int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8, salt=self._salt).digest(), "little")
