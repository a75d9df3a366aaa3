"""The encoder that asks an OpenAI-compatible ``/v1/embeddings`` endpoint."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders.bounds import HEAD_SHARE, head_and_tail, well_formed
from mixllm.encoders.embeddings_api import EmbeddingsAPI, checked_base
from mixllm.errors import EncoderError, InvalidValueError
from mixllm.types import Secret
from mixllm.units import positive

__all__ = ["DEFAULT_MAX_CHARS", "EndpointEncoder"]

DEFAULT_MAX_CHARS = 8000
"""As the default encoder's; about 2,000 tokens of English."""

_RECIPE = 1  # counts changes of this code that change vectors; part of every fingerprint
_DIGEST_CHARS = 16
_MIB = 1024 * 1024


@final
class EndpointEncoder:
    """Text to the embedding that an endpoint gives, scaled to unit length.

    Each text is sent to the endpoint, unless it was sent lately; `encode` returns when the answer is there.

    Parameters
    ----------
    api_base
        Base URL of the endpoint, ``/v1`` included.
    model
        What the endpoint calls the model.
    dimension
        Length d of its vectors; answers of another length are refused.
    api_key_env
        Name of the environment variable with the key, looked up at each call; None sends no key.
    timeout_s
        Time limit of a whole call.
    max_chars
        Longer texts are cut to this length, their beginning and their end kept (see `head_and_tail`).
    batch
        Most texts of one call.
    cache
        How many texts' vectors are kept, the least lately used going first; 0 keeps none. Kept are digests of the
        texts, not the texts.
    max_reply_bytes
        Longer answers are refused.
    environ
        Where keys are looked up; None takes the process's environment.

    Raises
    ------
    InvalidValueError
        Where a parameter is out of range.

    Notes
    -----
    A blank text gives the zero vector without a call. Nothing is tried again: the caller knows better whether to wait
    or to go on. Safe to call from any thread.

    The same text gives the same vector as far as the endpoint does so. Some round differently in batches; with
    ``batch=1`` they are asked for one text at a time.

    Examples
    --------
    >>> EndpointEncoder(api_base="http://127.0.0.1:8000/v1", model="bge-small", dimension=384).dimension
    384
    """

    __slots__ = ("_api", "_batch", "_environ", "_key_name", "_max_chars", "_vectors_kept")

    def __init__(
        self,
        *,
        api_base: str,
        model: str,
        dimension: int,
        api_key_env: str | None = None,
        timeout_s: float = 10.0,
        max_chars: int = DEFAULT_MAX_CHARS,
        batch: int = 64,
        cache: int = 4096,
        max_reply_bytes: int = 64 * _MIB,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        for name, value, least in (
            ("dimension", dimension, 1),
            ("max_chars", max_chars, 1),
            ("batch", batch, 1),
            ("cache", cache, 0),
            ("max_reply_bytes", max_reply_bytes, 1),
        ):
            if type(value) is not int or value < least:
                raise InvalidValueError(name, value, f"a whole number >= {least}")
        if not (model and model.strip()):
            raise InvalidValueError("model", model, "the name of a model")
        if api_key_env is not None and not api_key_env.strip():
            raise InvalidValueError("api_key_env", api_key_env, "the name of an environment variable, or None")
        self._api = EmbeddingsAPI(
            api_base=checked_base(api_base),
            model=model,
            dimension=dimension,
            timeout_s=positive("timeout_s", timeout_s),
            max_reply_bytes=max_reply_bytes,
        )
        self._key_name = api_key_env
        self._max_chars = max_chars
        self._batch = batch
        self._environ: Mapping[str, str] = os.environ if environ is None else environ
        self._vectors_kept = _VectorCache(cache)

    @property
    def dimension(self) -> int:
        """Length d of the vectors."""
        return self._api.dimension

    @property
    def blocking(self) -> bool:
        """True: another server answers."""
        return True

    @property
    def fingerprint(self) -> str:
        """Identity: kind, dimension, and a digest of the endpoint's address, its model and `max_chars`.

        What the endpoint does under that name is its own affair: where it takes another model, give it another name.
        """
        settings = f"{self._api.api_base}|{self._api.model}|recipe={_RECIPE}|head={HEAD_SHARE}|{self._max_chars}"
        return f"endpoint/{self.dimension}/{hashlib.sha256(settings.encode()).hexdigest()[:_DIGEST_CHARS]}"

    @property
    def max_chars(self) -> int:
        """Longer texts are cut to this many characters."""
        return self._max_chars

    def encode(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector of `text`, shape (d,); the zero vector where it is blank.

        Raises
        ------
        EncoderError
            Where the endpoint gives no vector, or its key is not set.
        """
        vector: NDArray[np.float32] = self._encoded([self._bounded("text", text)])[0]
        return vector

    def encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the unit vectors of `texts`, shape (n, d); `batch` texts a call.

        Raises
        ------
        EncoderError
            Where the endpoint does not give all vectors, or its key is not set.
        """
        if isinstance(texts, str):
            raise InvalidValueError("texts", "one string", "a sequence of strings; use encode for one")
        return self._encoded([self._bounded(f"texts[{row}]", text) for row, text in enumerate(texts)])

    def _encoded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        rows_of: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            if not text.strip():
                continue
            kept = self._vectors_kept.get(text)
            if kept is None:
                rows_of.setdefault(text, []).append(row)
            else:
                vectors[row] = kept
        asked = list(rows_of)
        for start in range(0, len(asked), self._batch):
            batch = asked[start : start + self._batch]
            for text, vector in zip(batch, self._api.embed(batch, self._key()), strict=True):
                vectors[rows_of[text]] = vector
                self._vectors_kept.put(text, vector)
        return vectors

    def _bounded(self, parameter: str, text: object) -> str:
        if not isinstance(text, str):
            raise InvalidValueError(parameter, type(text).__name__, "a string")
        return well_formed(head_and_tail(text, max_chars=self._max_chars))

    def _key(self) -> Secret | None:
        if self._key_name is None:
            return None
        key = self._environ.get(self._key_name, "").strip()
        if not (key and key.isascii() and key.isprintable()):
            state = "not usable as a key" if key else "not set"
            raise EncoderError(
                f"The environment variable {self._key_name}, for the embeddings endpoint {self._api.api_base}, is "
                f"{state}. Set it to the endpoint's key."
            )
        return Secret(key)


class _VectorCache:
    """The vectors of the texts used last."""

    __slots__ = ("_kept", "_lock", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> NDArray[np.float32] | None:
        if not self._most:
            return None
        name = _name(text)
        with self._lock:
            vector = self._kept.get(name)
            if vector is not None:
                self._kept.move_to_end(name)
            return vector

    def put(self, text: str, vector: NDArray[np.float32]) -> None:
        if not self._most:
            return
        name, copy = _name(text), vector.copy()
        with self._lock:
            self._kept[name] = copy
            self._kept.move_to_end(name)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def _name(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
