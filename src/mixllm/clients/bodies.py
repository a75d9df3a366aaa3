"""Bodies of answers: read up to a limit, and checked for what the protocol promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mixllm.errors import UpstreamProtocolError
from mixllm.types import LLMSpec

if TYPE_CHECKING:
    import aiohttp

__all__ = ["check_event", "check_reply", "ends_response", "read_bounded"]


async def read_bounded(response: aiohttp.ClientResponse, max_bytes: int, *, cut: bool = False) -> bytes | None:
    """Return the body; where it is longer than `max_bytes`, None, or with `cut` its first `max_bytes`.

    What is longer is not read to its end.
    """
    announced = response.content_length
    if announced is not None and announced <= max_bytes:
        return await response.read()
    if announced is not None and not cut:
        return None
    content = bytearray()
    while chunk := await response.content.readany():
        content += chunk
        if len(content) > max_bytes:
            return bytes(content[:max_bytes]) if cut else None
    return bytes(content)


_ABSENT = msgspec.Raw()


class _Envelope(msgspec.Struct):
    """The part of an answer that says whether it is one; the decoder checks the rest's syntax and drops it."""

    error: msgspec.Raw = _ABSENT
    choices: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


_decode = msgspec.json.Decoder(_Envelope).decode


def check_reply(spec: LLMSpec, body: bytes) -> None:
    """Raise `UpstreamProtocolError` where `body` is no JSON object, or one that holds an error and no answer."""
    try:
        envelope = _decode(body)
        body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamProtocolError(
            spec.name, "its endpoint answered with something that is not a JSON object. Check api_base, /v1 included."
        ) from error
    if _only_an_error(envelope):
        raise UpstreamProtocolError(spec.name, "its endpoint answered with an error under status 200. Try another LLM.")


def check_event(spec: LLMSpec, data: bytes) -> None:
    """Raise `UpstreamProtocolError` where the event `data` is no JSON object, or reports an error."""
    try:
        envelope = _decode(data)
        data.decode()  # The decoder does not look into texts that it drops; clients do.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamProtocolError(
            spec.name, "its stream holds an event that is not a JSON object. Try another LLM."
        ) from error
    if _only_an_error(envelope):
        raise UpstreamProtocolError(spec.name, "its stream broke off with an error. Try again, or another LLM.")


class _Event(msgspec.Struct):
    type: str = ""


_decode_event = msgspec.json.Decoder(_Event).decode
_RESPONSE_EVENT = b'"response.'
_RESPONSE_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})


def ends_response(data: bytes) -> bool:
    """Return whether `data`, an event that `check_event` let pass, is the last one of a stream of the Responses API.

    Examples
    --------
    >>> ends_response(b'{"type":"response.completed","response":{}}'), ends_response(b'{"choices":[]}')
    (True, False)
    """
    if _RESPONSE_EVENT not in data:  # as all of other streams, of which this costs next to nothing
        return False
    try:
        return _decode_event(data).type in _RESPONSE_ENDS
    except msgspec.DecodeError:
        return False


def _only_an_error(envelope: _Envelope) -> bool:
    error = envelope.error
    return error is not _ABSENT and bytes(error) != b"null" and envelope.choices is envelope.data is _ABSENT
