"""A chat request as the gateway understands it; what it does not understand it passes on untouched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mixllm.encoders import query_from_messages
from mixllm.gateway.bodies import InvalidBodyError, decode
from mixllm.gateway.keys import NOBODY, AccessKey
from mixllm.gateway.permissions import within
from mixllm.gateway.profiles import AUTO, read_profile
from mixllm.types import Capability, LLMSpec, Query

__all__ = ["ChatRequest", "Wishes", "read_chat_request"]

_OWN_FIELD = "mixllm"
"""Field of the body that speaks to the gateway; it is not passed on."""

_HUMAN = "user"

_MAX_MESSAGES = 10_000


class Wishes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``mixllm`` field of a request: constraints for this request alone."""

    trade_off: float | None = msgspec.field(default=None, name="lambda")
    allowed_llms: frozenset[str] | None = None
    max_cost_usd: float | None = None
    min_quality: float | None = None
    max_latency_s: float | None = None
    max_ttft_s: float | None = None


class _AnswerFormat(msgspec.Struct, frozen=True):
    type: str | None = None


# Numbers beyond every float are valid JSON, and none of the gateway's business.
_MESSAGES = msgspec.json.Decoder(list[dict[str, Any]], float_hook=float)


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = False


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
    """

    fields: dict[str, msgspec.Raw]
    query: Query
    llm: str | None
    stream: bool
    wants_usage: bool
    ends_with_user: bool = True

    @property
    def path(self) -> str:
        """Where endpoints take it."""
        return "/chat/completions"

    def body_for(self, spec: LLMSpec) -> bytes:
        """Return the body for `spec`: as it came, with its model's name and a wish for the stream's usage."""
        fields = dict(self.fields)
        fields["model"] = msgspec.Raw(msgspec.json.encode(spec.upstream_model))
        if self.stream and spec.stream_usage and not self.wants_usage:
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
    model = _model(fields, default=AUTO if routing_only else None)
    profile = read_profile(model, trade_off=trade_off)
    wishes = decode(fields[_OWN_FIELD], Wishes, field=_OWN_FIELD) if _OWN_FIELD in fields else Wishes()
    options = _optional(fields, "stream_options", _StreamOptions)
    messages = _messages(fields)
    stream: bool = _optional(fields, "stream", bool) or False
    query = query_from_messages(
        messages,
        needs=_needs(fields),
        max_tokens_out=_max_tokens_out(fields),
        allowed_llms=wishes.allowed_llms,
        max_cost_usd=wishes.max_cost_usd,
        min_quality=wishes.min_quality,
        max_latency_s=wishes.max_latency_s,
        max_ttft_s=wishes.max_ttft_s,
        streamed=stream,
        trade_off=wishes.trade_off if wishes.trade_off is not None else (profile.trade_off if profile else None),
    )
    if profile is not None and profile.deadline_s is not None:
        query = msgspec.structs.replace(query, deadline_s=profile.deadline_s)
    query, llm = within(key, query, llm=model if profile is None else None, trade_off=trade_off)
    return ChatRequest(
        fields={name: raw for name, raw in fields.items() if name != _OWN_FIELD},
        query=query,
        llm=llm,
        stream=stream,
        wants_usage=bool(options and options.include_usage),
        ends_with_user=messages[-1]["role"] == _HUMAN,  # query_from_messages has seen to it that there is one
    )


def _model(fields: Mapping[str, msgspec.Raw], *, default: str | None) -> str:
    model = decode(fields["model"], str, field="model") if "model" in fields else default
    if model:
        return model
    raise InvalidBodyError(
        f"model is missing or empty. Use {AUTO!r} to have it chosen, or the name of an LLM.", param="model"
    )


def _messages(fields: Mapping[str, msgspec.Raw]) -> list[dict[str, Any]]:
    if "messages" not in fields:
        raise InvalidBodyError("messages is missing. Send the conversation as a list of messages.", param="messages")
    raw = fields["messages"]
    if bytes(raw).count(b"{") > _MAX_MESSAGES and len(decode(raw, list[msgspec.Raw], field="messages")) > _MAX_MESSAGES:
        # Before they are decoded: each becomes many times as large as it was sent.
        raise InvalidBodyError(f"messages holds more than {_MAX_MESSAGES} messages. Shorten it.", param="messages")
    return decode(raw, _MESSAGES, field="messages")


def _needs(fields: Mapping[str, msgspec.Raw]) -> frozenset[Capability]:
    needs = set()
    if _optional(fields, "tools", list[msgspec.Raw]) or _optional(fields, "functions", list[msgspec.Raw]):
        needs.add(Capability.TOOLS)
    answer_format = _optional(fields, "response_format", _AnswerFormat)
    if answer_format and answer_format.type in {"json_object", "json_schema"}:
        needs.add(Capability.JSON)
    if "audio" in (_optional(fields, "modalities", list[str]) or []):
        needs.add(Capability.AUDIO)
    return frozenset(needs)


def _max_tokens_out(fields: Mapping[str, msgspec.Raw]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit: int | None = _optional(fields, name, int)
        if limit is not None:
            if limit < 1:
                raise InvalidBodyError(f"{name} must be >= 1; got {limit}.", param=name)
            return limit
    return None


def _optional(fields: Mapping[str, msgspec.Raw], name: str, kind: Any) -> Any:
    return decode(fields[name], kind | None, field=name) if name in fields else None
