"""A chat request as the gateway understands it; what it does not understand it passes on untouched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mixllm.encoders import is_tool_result, query_from_messages
from mixllm.gateway.bodies import InvalidBodyError, decode
from mixllm.gateway.dialect import CHAT, Dialect
from mixllm.gateway.keys import NOBODY, AccessKey
from mixllm.gateway.permissions import within
from mixllm.gateway.profiles import AUTO, Profile, read_profile
from mixllm.types import Capability, LLMSpec, Query

__all__ = [
    "OWN_FIELD",
    "ChatRequest",
    "Wishes",
    "check_count",
    "optional_field",
    "read_chat_request",
    "read_model",
    "read_wishes",
    "wishful",
]

OWN_FIELD = "mixllm"
"""Field of the body that speaks to the gateway; it is not passed on."""

_HUMAN = "user"
_MAX_CHOICES = 1024

_MAX_MESSAGES = 10_000


class Wishes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``mixllm`` field of a request: constraints for this request alone."""

    trade_off: float | None = msgspec.field(default=None, name="lambda")
    allowed_llms: frozenset[str] | None = None
    max_cost_usd: float | None = None
    min_quality: float | None = None
    max_latency_s: float | None = None
    max_ttft_s: float | None = None
    sticky: bool = True


class _AnswerFormat(msgspec.Struct, frozen=True):
    type: str | None = None


# Numbers beyond every float are valid JSON, and none of the gateway's business.
_MESSAGES = msgspec.json.Decoder(list[dict[str, Any]], float_hook=float)


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = False


# Made once: to work out what a type is takes longer than to decode a field.
_TEXT = msgspec.json.Decoder(str)
_FLAG = msgspec.json.Decoder(bool | None)
_COUNT = msgspec.json.Decoder(int | None)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_MAYBE_ITEMS = msgspec.json.Decoder(list[msgspec.Raw] | None)
_TEXTS = msgspec.json.Decoder(list[str] | None)
_OPTIONS = msgspec.json.Decoder(_StreamOptions | None)
_FORMAT = msgspec.json.Decoder(_AnswerFormat | None)
_WISHES = msgspec.json.Decoder(Wishes)
_NO_WISHES = Wishes()


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One chat request.

    Parameters
    ----------
    fields
        Every top-level field as it was sent, but for the gateway's own.
    query
        What the router needs of it.
    llm
        The LLM that it names, or None where routing is asked for.
    stream
        Whether it wants a stream.
    wants_usage
        Whether it wants the usage at the end of the stream.
    ends_with_user
        Whether the last message is a user's.
    ends_with_tool
        Whether the last message is the result of a tool: an agent goes on.
    sticky
        Whether the conversation so far may count.
    dialect
        The endpoint that it is for, and how its answers are read.
    """

    fields: dict[str, msgspec.Raw]
    query: Query
    llm: str | None
    stream: bool
    wants_usage: bool
    ends_with_user: bool = True
    ends_with_tool: bool = False
    sticky: bool = True
    dialect: Dialect = CHAT

    def body_for(self, spec: LLMSpec) -> bytes:
        """Return the body for `spec`: as it came, with its model's name and a wish for the stream's usage."""
        fields = dict(self.fields)
        fields["model"] = msgspec.Raw(msgspec.json.encode(spec.upstream_model))
        if self.stream and self.dialect is CHAT and spec.stream_usage and not self.wants_usage:
            fields["stream_options"] = self._options_with_usage()
        return msgspec.json.encode(fields)

    def _options_with_usage(self) -> msgspec.Raw:
        sent = self.fields.get("stream_options")
        options = msgspec.json.decode(sent, type=dict[str, msgspec.Raw] | None) if sent is not None else None
        return msgspec.Raw(msgspec.json.encode({**(options or {}), "include_usage": True}))


def read_chat_request(
    fields: dict[str, msgspec.Raw], *, trade_off: float, key: AccessKey = NOBODY, routing_only: bool = False
) -> ChatRequest:
    """Understand a chat request.

    Parameters
    ----------
    fields
        Top-level fields of the body.
    trade_off
        The configured λ, which profiles shift.
    key
        The key that asks: what it sets and allows.
    routing_only
        Whether ``model`` may be missing: there is only one thing to ask for.

    Raises
    ------
    InvalidBodyError, InvalidValueError
        Where a field that the gateway needs is missing or wrong; names it.
    ForbiddenLLMError
        Where it names an LLM that its key may not use.
    """
    model = read_model(fields, default=AUTO if routing_only else None)
    profile = read_profile(model, trade_off=trade_off)
    wishes = read_wishes(fields)
    options = optional_field(fields, "stream_options", _OPTIONS)
    messages = _messages(fields)
    stream: bool = optional_field(fields, "stream", _FLAG) or False
    query = query_from_messages(messages, needs=_needs(fields), max_tokens_out=_max_tokens_out(fields), streamed=stream)
    choices = _choices(fields)
    if choices != query.choices:
        query = msgspec.structs.replace(query, choices=choices)
    query = wishful(query, wishes, profile)
    query, llm = within(key, query, llm=model if profile is None else None, trade_off=trade_off)
    return ChatRequest(
        fields=fields if OWN_FIELD not in fields else {name: raw for name, raw in fields.items() if name != OWN_FIELD},
        query=query,
        llm=llm,
        stream=stream,
        wants_usage=bool(options and options.include_usage),
        ends_with_user=messages[-1]["role"] == _HUMAN,  # query_from_messages has seen to it that there is one
        ends_with_tool=is_tool_result(messages[-1]),
        sticky=wishes.sticky,
    )


def wishful(query: Query, wishes: Wishes, profile: Profile | None) -> Query:
    """Return `query` with what the request wishes for; its own λ goes before the profile's.

    Whoever asks may be bound: what comes of it has to go through `mixllm.gateway.permissions.within`.
    """
    if wishes is _NO_WISHES and (profile is None or profile.neutral):
        return query
    trade_off = wishes.trade_off if wishes.trade_off is not None else (profile.trade_off if profile else None)
    return msgspec.structs.replace(
        query,
        allowed_llms=wishes.allowed_llms,
        max_cost_usd=wishes.max_cost_usd,
        min_quality=wishes.min_quality,
        max_latency_s=wishes.max_latency_s,
        max_ttft_s=wishes.max_ttft_s,
        trade_off=trade_off,
        deadline_s=profile.deadline_s if profile else None,
    )


def read_wishes(fields: Mapping[str, msgspec.Raw]) -> Wishes:
    """Return the constraints for this request alone; raises `InvalidBodyError` where they mean nothing."""
    return decode(fields[OWN_FIELD], _WISHES, field=OWN_FIELD) if OWN_FIELD in fields else _NO_WISHES


def read_model(fields: Mapping[str, msgspec.Raw], *, default: str | None = None) -> str:
    """Return the name of the LLM, or of the routing model; raises `InvalidBodyError` where there is none."""
    model = decode(fields["model"], _TEXT, field="model") if "model" in fields else default
    if model:
        return model
    raise InvalidBodyError(
        f"model is missing or empty. Use {AUTO!r} to have it chosen, or the name of an LLM.", param="model"
    )


def check_count(fields: Mapping[str, msgspec.Raw], name: str) -> None:
    """Raise `InvalidBodyError` where the list of that name is longer than any conversation.

    It is called before they are decoded: each message becomes many times as large as it was sent.
    """
    raw = fields.get(name, msgspec.Raw(b"[]"))
    if bytes(raw).count(b"{") > _MAX_MESSAGES and len(decode(raw, _ITEMS, field=name)) > _MAX_MESSAGES:
        raise InvalidBodyError(f"{name} holds more than {_MAX_MESSAGES} messages. Shorten it.", param=name)


def _messages(fields: Mapping[str, msgspec.Raw]) -> list[dict[str, Any]]:
    if "messages" not in fields:
        raise InvalidBodyError("messages is missing. Send the conversation as a list of messages.", param="messages")
    check_count(fields, "messages")
    return decode(fields["messages"], _MESSAGES, field="messages")


def _needs(fields: Mapping[str, msgspec.Raw]) -> frozenset[Capability]:
    needs = set()
    if optional_field(fields, "tools", _MAYBE_ITEMS) or optional_field(fields, "functions", _MAYBE_ITEMS):
        needs.add(Capability.TOOLS)
    answer_format = optional_field(fields, "response_format", _FORMAT)
    if answer_format and answer_format.type in {"json_object", "json_schema"}:
        needs.add(Capability.JSON)
    if "audio" in (optional_field(fields, "modalities", _TEXTS) or []):
        needs.add(Capability.AUDIO)
    return frozenset(needs)


def _max_tokens_out(fields: Mapping[str, msgspec.Raw]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit: int | None = optional_field(fields, name, _COUNT)
        if limit is not None:
            if limit < 1:
                raise InvalidBodyError(f"{name} must be >= 1; got {limit}.", param=name)
            return limit
    return None


def _choices(fields: Mapping[str, msgspec.Raw]) -> int:
    choices: int | None = optional_field(fields, "n", _COUNT)
    # What is no number of answers is for the endpoint to refuse.
    return choices if choices is not None and 1 <= choices <= _MAX_CHOICES else 1


def optional_field(fields: Mapping[str, msgspec.Raw], name: str, decoder: msgspec.json.Decoder[Any]) -> Any:
    """Return a field as `decoder` reads it, None where it is missing; raises `InvalidBodyError` naming it."""
    return decode(fields[name], decoder, field=name) if name in fields else None
