"""What an answer says of its own length, cost and model."""

from __future__ import annotations

import msgspec

__all__ = ["Answer", "Chunk", "Usage", "read_answer", "read_chunk", "with_model"]


class _InDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = 0


class _OutDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = 0


class Usage(msgspec.Struct, frozen=True):
    """OpenAI's ``usage``."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InDetails | None = None
    completion_tokens_details: _OutDetails | None = None

    @property
    def cached_tokens_in(self) -> int:
        """Prompt tokens read from the provider's cache."""
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0

    @property
    def reasoning_tokens(self) -> int:
        """Answer tokens spent on reasoning."""
        return (self.completion_tokens_details and self.completion_tokens_details.reasoning_tokens) or 0


class Answer(msgspec.Struct, frozen=True):
    """The parts of a whole answer that the gateway reads."""

    model: str | None = None
    usage: Usage | None = None


class Chunk(msgspec.Struct, frozen=True):
    """The parts of a streamed chunk that the gateway reads."""

    model: str | None = None
    usage: Usage | None = None
    choices: list[msgspec.Raw] | None = None


_ANSWER = msgspec.json.Decoder(Answer)
_CHUNK = msgspec.json.Decoder(Chunk)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_answer(body: bytes) -> Answer:
    """Return what `body` says of itself; nothing where its fields are of another kind."""
    try:
        return _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Answer()


def read_chunk(data: bytes) -> Chunk:
    """Return what a chunk says of itself; nothing where its fields are of another kind."""
    try:
        return _CHUNK.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Chunk()


def with_model(body: bytes, model: str) -> bytes:
    """Return `body` with its ``model`` replaced and every other field as it came.

    Examples
    --------
    >>> with_model(b'{"id":"1","model":"gpt-4o-2024-08-06","x":1.0}', "gpt-4o")
    b'{"id":"1","model":"gpt-4o","x":1.0}'
    """
    fields = _FIELDS.decode(body)
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)
