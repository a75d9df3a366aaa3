"""What tells the endpoints of OpenAI's API apart: the path, and where an answer names its model and its usage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mixllm.gateway.usage import Answer, Chunk, ChunkNames, read_answer, read_chunk, with_model

__all__ = ["CHAT", "EMBEDDINGS", "Dialect", "sse_event"]


class Dialect(Protocol):
    """How the answers of one endpoint are read and passed on."""

    @property
    def path(self) -> str:
        """Path below an LLM's ``api_base``."""

    def read_answer(self, body: bytes) -> Answer:
        """Return what a whole answer says of itself."""

    def read_event(self, data: bytes) -> Chunk:
        """Return what one event of a stream says of itself."""

    def named(self, body: bytes, model: str) -> bytes:
        """Return an answer, or an event's data, that names `model`, with every other field as it came."""

    def naming(self, model: str) -> Callable[[bytes], bytes]:
        """Return what does the same to the events of one stream."""

    def event(self, data: bytes) -> bytes:
        """Return an event as it goes to the client; nothing for one that its streams do not have."""


class _ByFields:
    """Model and usage are fields of the answer itself."""

    def __init__(self, *, path: str) -> None:
        self.path = path

    def read_answer(self, body: bytes) -> Answer:
        return read_answer(body)

    def read_event(self, data: bytes) -> Chunk:
        return read_chunk(data)

    def named(self, body: bytes, model: str) -> bytes:
        return with_model(body, model)

    def naming(self, model: str) -> Callable[[bytes], bytes]:
        return ChunkNames(model)

    def event(self, data: bytes) -> bytes:
        return sse_event(data)


CHAT: Dialect = _ByFields(path="/chat/completions")
EMBEDDINGS: Dialect = _ByFields(path="/embeddings")


def sse_event(data: bytes, *, kind: bytes | None = None) -> bytes:
    r"""Return `data` as a server-sent event, under the name `kind` where it is given.

    Examples
    --------
    >>> sse_event(b"{}", kind=b"ping")
    b'event: ping\ndata: {}\n\n'
    """
    head = b"data: " if kind is None else b"event: " + kind + b"\ndata: "
    # What an endpoint sent over several lines has to stay on lines of data.
    return head + (data.replace(b"\n", b"\ndata: ") if b"\n" in data else data) + b"\n\n"
