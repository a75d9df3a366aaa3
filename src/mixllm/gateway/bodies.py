"""Request bodies: bounded in size, JSON objects only, read without changing a byte of what is passed on."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request

from mixllm.gateway.headers import header_of
from mixllm.gateway.state import state_of

__all__ = ["BodyTooLargeError", "InvalidBodyError", "UnsupportedMediaError", "decode", "read_fields", "read_object"]

_T = TypeVar("_T")
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class InvalidBodyError(Exception):
    """The body is not what the endpoint takes."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        self.param = param
        super().__init__(message)


class BodyTooLargeError(Exception):
    """The body is larger than the configured limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The request body is larger than the limit of {limit_bytes} bytes. Send less, or raise "
            "gateway.max_body_bytes."
        )


class UnsupportedMediaError(Exception):
    """The body is not declared as JSON."""

    def __init__(self, content_type: str) -> None:
        super().__init__(
            f"Content-Type must be application/json, not {content_type[:80]!r}. Add the header "
            "'Content-Type: application/json'."
        )


async def read_fields(request: Request) -> dict[str, msgspec.Raw]:
    """Return the top-level fields of a JSON object, each as the bytes that were sent.

    Raises
    ------
    UnsupportedMediaError, BodyTooLargeError, InvalidBodyError
        Where the body is not declared as JSON, too large, or not a JSON object.
    """
    body = await _read(request)
    try:
        return _FIELDS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError(_problem(error)) from error


async def read_object(request: Request, kind: type[_T]) -> _T:
    """Return the body as a `kind`; raises as `read_fields` does."""
    body = await _read(request)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError(_problem(error)) from error


def decode(raw: msgspec.Raw, kind: type[_T] | msgspec.json.Decoder[_T], *, field: str) -> _T:
    """Return one field as a `kind`; raises `InvalidBodyError` naming the field."""
    try:
        return kind.decode(raw) if isinstance(kind, msgspec.json.Decoder) else msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBodyError(f"{field}: {_problem(error)}", param=field) from error


async def _read(request: Request) -> bytes:
    # Anything but declared JSON is refused, so that a web page cannot post to a gateway on loopback: browsers send
    # JSON across origins only after asking, and the gateway never allows it.
    content_type = header_of(request.scope, b"content-type") or ""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaError(content_type)
    limit_bytes = state_of(request).config.max_body_bytes
    if int(header_of(request.scope, b"content-length") or 0) > limit_bytes:
        raise BodyTooLargeError(limit_bytes)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise InvalidBodyError("The client went away before the whole body was sent.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise BodyTooLargeError(limit_bytes)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "The JSON is nested too deeply. Flatten it."
    if isinstance(error, msgspec.ValidationError):
        return f"{error}. Check the field against the API reference."
    return f"The body is not valid JSON ({error}). Check how it is encoded."
