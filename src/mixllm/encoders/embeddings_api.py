"""One call of a ``/v1/embeddings`` endpoint: the request, bounded in time and size, and the reading of its answer."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixllm.errors import EncoderError, InvalidValueError
from mixllm.types import Secret

__all__ = ["EmbeddingsAPI", "checked_base"]

_OK = 200
_CHUNK_BYTES = 64 * 1024
_PATH = "/embeddings"
_REFUSALS = {
    401: "Check the key in its environment variable.",
    403: "Check the key in its environment variable.",
    404: "Check api_base (with /v1) and the model's name.",
    429: "It is over its rate limit: wait, or ask for a higher one.",
}


class _Item(msgspec.Struct):
    embedding: list[float]
    index: int


class _Reply(msgspec.Struct):
    data: list[_Item]


_DECODER = msgspec.json.Decoder(_Reply)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsAPI:
    """Where embeddings come from, and what a call may take.

    Parameters
    ----------
    api_base
        Base URL, ``/v1`` included, as `checked_base` returns it.
    model
        What the endpoint calls the model.
    dimension
        Length d of its embeddings.
    timeout_s
        Time limit of a whole call.
    max_reply_bytes
        Longer answers are refused.

    Notes
    -----
    Every call has a connection of its own; there is no retry. Redirects are not followed, as they could carry the key
    elsewhere, and proxy variables are ignored.
    """

    api_base: str
    model: str
    dimension: int
    timeout_s: float
    max_reply_bytes: int

    def embed(self, texts: Sequence[str], key: Secret | None) -> NDArray[np.float32]:
        """Return the unit vectors of `texts`, shape (n, d).

        Raises
        ------
        EncoderError
            Where the endpoint cannot be reached, refuses, takes too long, or answers with anything else than n
            vectors of d finite numbers that are not all zero. The message holds no text and no key.
        """
        body = msgspec.json.encode({"model": self.model, "input": list(texts), "encoding_format": "float"})
        try:
            status, answer = self._post(body, key)
        except TimeoutError as error:
            raise self._error(f"took longer than {self.timeout_s:g} s. Raise timeout_s, or use another.") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise self._error(f"cannot be reached ({reason}). Is it running, and is api_base right?") from error
        if status != _OK:
            hint = _REFUSALS.get(status, "Look into its own log.")
            raise self._error(f"answered with status {status}. {hint}")
        return self._vectors(answer, len(texts))

    def _post(self, body: bytes, key: Secret | None) -> tuple[int, bytes]:
        until_s = time.monotonic() + self.timeout_s
        address = urlsplit(self.api_base)
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.reveal()}"
        connection = _connection(address, self.timeout_s)
        try:
            connection.request("POST", f"{address.path}{_PATH}", body=body, headers=headers)
            socket = connection.sock  # the connection lets go of it before the answer is read
            socket.settimeout(_left_s(until_s))
            reply = connection.getresponse()
            answer = bytearray()
            while chunk := reply.read1(_CHUNK_BYTES):
                answer += chunk
                if len(answer) > self.max_reply_bytes:
                    raise self._error(f"answered with more than {self.max_reply_bytes} bytes. Lower batch.")
                socket.settimeout(_left_s(until_s))
            if reply.length:
                raise http.client.IncompleteRead(b"", reply.length)
            return reply.status, bytes(answer)
        finally:
            connection.close()

    def _vectors(self, answer: bytes, count: int) -> NDArray[np.float32]:
        try:
            items = _DECODER.decode(answer).data
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise self._error(f"answered with something else than embeddings ({error}). {_REFUSALS[404]}") from error
        if sorted(item.index for item in items) != list(range(count)):
            raise self._error(f"answered with {len(items)} embeddings to {count} texts, or misnumbered them.")
        lengths = {len(item.embedding) for item in items}
        if lengths - {self.dimension}:
            raise self._error(f"gives vectors of {max(lengths)} numbers, not {self.dimension}. Correct dimension.")
        vectors = np.array([item.embedding for item in sorted(items, key=lambda item: item.index)], dtype=np.float64)
        with np.errstate(over="ignore"):  # refused right below
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise self._error("gives vectors without a direction (zero, or beyond every float). Use another model.")
        unit: NDArray[np.float32] = (vectors / norms).astype(np.float32)
        return unit

    def _error(self, what: str) -> EncoderError:
        return EncoderError(f"The embeddings endpoint {self.api_base} (model {self.model!r}) {what}")


def checked_base(api_base: str) -> str:
    """Return a base URL without a slash at its end.

    Raises
    ------
    InvalidValueError
        Where it is no plain http or https URL: another scheme, no host, a user or password, a query.
    """
    if not isinstance(api_base, str):
        raise InvalidValueError("api_base", api_base, "a URL that begins with http:// or https://")
    try:
        address = urlsplit(api_base)
        port_is_good = address.port is None or address.port > 0
    except ValueError:
        raise InvalidValueError("api_base", api_base, "a URL that begins with http:// or https://") from None
    if "@" in address.netloc:
        raise InvalidValueError("api_base", "***", "a URL without a user and password; put the key into api_key_env")
    if address.scheme not in {"http", "https"} or not address.hostname or not port_is_good:
        raise InvalidValueError("api_base", api_base, "a URL that begins with http:// or https://")
    if address.query or address.fragment or not (api_base.isascii() and api_base.isprintable() and " " not in api_base):
        raise InvalidValueError("api_base", api_base, "a URL in plain ASCII without a query, e.g. http://host:8000/v1")
    return api_base.rstrip("/")


def _connection(address: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    return kind(address.hostname or "", address.port, timeout=timeout_s)


def _left_s(until_s: float) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
