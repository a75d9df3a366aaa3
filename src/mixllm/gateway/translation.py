"""Answers of the chat endpoint, told in the words of another API: whole ones, streams, and errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec
from starlette.responses import Response

from mixllm.clients import DONE, SSEParser
from mixllm.gateway.answers import problem
from mixllm.gateway.calling import StreamedAnswer

__all__ = ["ChatChunks", "Translation", "translated"]

_KEPT_HEADERS = ("x-mixllm-", "retry-after", "www-authenticate")
_OK = 200
_ERROR_EVENT = b"event: error"
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ChatChunks:
    """The chunks of a streamed chat, read from the bytes of its answer; an error in it ends them.

    Parameters
    ----------
    source
        Bytes of the stream, cut anywhere.
    """

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self.source = source
        self.error: dict[str, Any] | None = None
        """The error that the stream ended with, in OpenAI's shape."""

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Yield each chunk, decoded."""
        parser = SSEParser()
        async for part in self.source:
            for data in parser.feed(part):
                if data == DONE:
                    continue
                chunk: dict[str, Any] = msgspec.json.decode(data)
                if "error" in chunk and "choices" not in chunk:
                    self.error = chunk["error"]
                    return
                yield chunk


class Translation(Protocol):
    """From the chat endpoint's answers to another API's."""

    @property
    def api(self) -> str:
        """Name of the API, for errors."""

    def body(self, answer: bytes) -> bytes:
        """Return a whole answer."""

    def events(self, chunks: ChatChunks) -> AsyncIterator[bytes]:
        """Yield the events of a stream; one that broke (`ChatChunks.error`) ends with `error_event`."""

    def error_body(self, status: int, error: dict[str, Any]) -> bytes:
        """Return the body of an error, given in OpenAI's shape."""

    def error_event(self, error: dict[str, Any]) -> bytes:
        """Return the event that ends a broken stream."""


def translated(response: Response, translation: Translation) -> Response:
    """Return `response`, the chat endpoint's, in the words of another API; its headers stay."""
    if isinstance(response, StreamedAnswer):
        # The object stays: it knows how to leave its upstream, however the stream ends.
        response.body_iterator = _events(aiter(response.body_iterator), translation)
        response.last_words = lambda error: translation.error_event({"message": str(error), "type": "server_error"})
        return response
    headers = {name: value for name, value in response.headers.items() if name.startswith(_KEPT_HEADERS)}
    body = bytes(response.body)
    if response.status_code == _OK:
        try:
            return Response(translation.body(body), _OK, headers, "application/json")
        except Exception:  # noqa: BLE001 - the library may fail in any way on what an endpoint made up
            response = problem(502, _untranslatable(translation), code="upstream_error")
            body = bytes(response.body)
    error = _error_of(body)
    if error is None:
        return response
    return Response(
        translation.error_body(response.status_code, error), response.status_code, headers, "application/json"
    )


async def _events(source: AsyncIterator[Any], translation: Translation) -> AsyncIterator[bytes]:
    chunks = ChatChunks(source)
    try:
        async for event in translation.events(chunks):
            if chunks.error is None and event.startswith(_ERROR_EVENT):
                # Of the library's making, and in its own words, which could hold anything.
                chunks.error = _unsaid(translation)
            if chunks.error is not None:
                break
            yield event
    except Exception:  # noqa: BLE001 - the library may fail in any way on what an endpoint made up
        chunks.error = _unsaid(translation)
    if chunks.error is not None:
        yield translation.error_event(chunks.error)


def _unsaid(translation: Translation) -> dict[str, Any]:
    return {"message": _untranslatable(translation), "type": "server_error"}


def _untranslatable(translation: Translation) -> str:
    return f"The LLM's answer cannot be told in {translation.api}'s shape. Try /v1/chat/completions, or another LLM."


def _error_of(body: bytes) -> dict[str, Any] | None:
    try:
        error = _FIELDS.decode(body).get("error")
        return None if error is None else msgspec.json.decode(error, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
