"""What an answer says of its own length, cost and model."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

__all__ = [
    "MAX_TOKENS",
    "Answer",
    "Chunk",
    "ChunkNames",
    "InDetails",
    "OutDetails",
    "Usage",
    "read_answer",
    "read_chunk",
    "with_model",
]

MAX_TOKENS = 100_000_000
"""No call has more; a larger count is the endpoint's mistake, and would spoil what is learned of costs."""

_MAX_COST_USD = 10_000.0

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]


class InDetails(msgspec.Struct, frozen=True):
    """Prompt tokens of a special kind."""

    cached_tokens: _Count | None = 0


class OutDetails(msgspec.Struct, frozen=True):
    """Answer tokens of a special kind."""

    reasoning_tokens: _Count | None = 0


class Usage(msgspec.Struct, frozen=True):
    """OpenAI's ``usage``, with the ``cost`` in USD that some providers (OpenRouter) bill and tell."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: InDetails | None = None
    completion_tokens_details: OutDetails | None = None
    cost: Any = None  # an object at some providers, which must not hide the tokens

    @property
    def cached_tokens_in(self) -> int:
        """Prompt tokens read from the provider's cache."""
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0

    @property
    def cost_usd(self) -> float | None:
        """The billed cost; None where it is not told, or cannot be."""
        cost = self.cost
        plausible = type(cost) in (int, float) and 0 <= cost <= _MAX_COST_USD
        return float(cost) if plausible else None

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


_PartsT = TypeVar("_PartsT", Answer, Chunk)
_ANSWER = msgspec.json.Decoder(Answer)
_CHUNK = msgspec.json.Decoder(Chunk)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEY = b'"model"'
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_answer(body: bytes) -> Answer:
    """Return what `body` says of itself; None for what is of another kind.

    Examples
    --------
    >>> read_answer(b'{"model":"a","usage":{"prompt_tokens":3,"completion_tokens":-1}}')
    Answer(model='a', usage=None)
    """
    try:
        return _ANSWER.decode(body)
    except _UNREADABLE:
        return _readable_parts(body, Answer)


def read_chunk(data: bytes) -> Chunk:
    """Return what a chunk says of itself; None for what is of another kind."""
    try:
        return _CHUNK.decode(data)
    except _UNREADABLE:
        return _readable_parts(data, Chunk)


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


class ChunkNames:
    """Renames the model in the chunks of one stream, as `with_model` does.

    Chunks of a stream begin alike, with the model's name near the beginning. Up to there a chunk need be read once:
    one that begins with the same bytes says the same.

    Parameters
    ----------
    model
        The name to be put in.

    Examples
    --------
    >>> named = ChunkNames("b")
    >>> named(b'{"id":1, "model": "a", "x": 1.0}'), named(b'{"id":1, "model": "a", "x": 2.0}')
    (b'{"id":1,"model":"b","x":1.0}', b'{"id":1, "model":"b", "x": 2.0}')
    """

    __slots__ = ("_member", "_model", "_new", "_old")

    def __init__(self, model: str) -> None:
        self._model = model
        self._member = _KEY + b":" + msgspec.json.encode(model)
        self._old: bytes | None = None
        self._new = b""

    def __call__(self, data: bytes) -> bytes:
        """Return the chunk with the model renamed."""
        old = self._old
        # A key that comes twice counts where it comes last.
        if old is not None and data.startswith(old) and data.find(_KEY, len(old)) < 0:
            return self._new + data[len(old) :]
        named = with_model(data, self._model)
        self._learn(data, _FIELDS.decode(named))
        return named

    def _learn(self, data: bytes, named: dict[str, msgspec.Raw]) -> None:
        """Keep the beginning up to the end of the name, where it is found."""
        sent = bytes(_FIELDS.decode(data)["model"])
        for member in (_KEY + b":" + sent, _KEY + b": " + sent):
            before, found, after = data.partition(member)
            # Something inside of another field may look the same: then the result is not what it should be.
            if found and _FIELDS.decode(before + self._member + after) == named:
                self._old, self._new = before + member, before + self._member
                return


def _readable_parts(body: bytes, kind: type[_PartsT]) -> _PartsT:
    """Decode each part on its own, so that one of another kind does not hide the others."""
    try:
        fields = _FIELDS.decode(body)
    except _UNREADABLE:
        return kind()
    parts: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        try:
            parts[field.name] = msgspec.json.decode(fields[field.name], type=field.type)
        except (KeyError, *_UNREADABLE):
            continue
    return kind(**parts)
