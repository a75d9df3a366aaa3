"""How answers of OpenAI's Responses API are read and passed on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import msgspec

from mixllm.clients import DONE
from mixllm.gateway.dialect import Dialect, sse_event
from mixllm.gateway.usage import MAX_TOKENS, Answer, Chunk, InDetails, OutDetails, Usage, with_model

__all__ = ["RESPONSES"]

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DELTA = ".delta"


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    input_tokens_details: InDetails | None = None
    output_tokens_details: OutDetails | None = None
    cost: object = None

    def as_chat(self) -> Usage:
        """Return it under the names of the chat endpoint."""
        return Usage(
            prompt_tokens=self.input_tokens,
            completion_tokens=self.output_tokens,
            prompt_tokens_details=self.input_tokens_details,
            completion_tokens_details=self.output_tokens_details,
            cost=self.cost,
        )


class _Response(msgspec.Struct, frozen=True):
    model: str | None = None
    usage: _Usage | None = None

    def answer(self) -> Answer:
        return Answer(model=self.model, usage=None if self.usage is None else self.usage.as_chat())


class _Event(msgspec.Struct, frozen=True):
    type: str = ""
    response: _Response | None = None


class _Responses:
    path = "/responses"

    def read_answer(self, body: bytes) -> Answer:
        try:
            return msgspec.json.decode(body, type=_Response).answer()
        except _UNREADABLE:
            return Answer()

    def read_event(self, data: bytes) -> Chunk:
        try:
            event = msgspec.json.decode(data, type=_Event)
        except _UNREADABLE:
            return Chunk()
        said = Answer() if event.response is None else event.response.answer()
        # Deltas are what chunks of a chat are: where nobody counts, each is close to a token.
        return Chunk(
            model=said.model, usage=said.usage, choices=[msgspec.Raw(b"{}")] if event.type.endswith(_DELTA) else None
        )

    def named(self, body: bytes, model: str) -> bytes:
        fields = _FIELDS.decode(body)
        if "response" not in fields:
            return with_model(body, model)
        fields["response"] = msgspec.Raw(with_model(fields["response"], model))
        return msgspec.json.encode(fields)

    def naming(self, model: str) -> Callable[[bytes], bytes]:
        return partial(self.named, model=model)

    def event(self, data: bytes) -> bytes:
        if data == DONE:
            return b""  # its streams end with an event of their own
        try:
            kind = msgspec.json.decode(data, type=_Event).type
        except _UNREADABLE:
            kind = ""
        return sse_event(data, kind=kind.encode() if kind.isascii() and kind.isprintable() and kind else None)


RESPONSES: Dialect = _Responses()
