"""Recorded answers as bodies and chunks of OpenAI's chat API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from mixllm.playback.answers import RecordedAnswer
from mixllm.playback.wire import ChatRequest

__all__ = ["TOOL_CALL_MARKER", "PlannedReply", "plan_reply"]

TOOL_CALL_MARKER = "[playback:tool]"
"""In the last message, a user's, it makes the answer a call of the request's first function."""

_CHARS_PER_TOKEN = 4
_encode = msgspec.json.Encoder().encode
_FORCED = "required"


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: float | msgspec.UnsetType = msgspec.UNSET


class _Called(msgspec.Struct, omit_defaults=True):
    arguments: str
    name: str | None = None


class _ToolCall(msgspec.Struct, omit_defaults=True):
    function: _Called
    index: int | None = None
    id: str | None = None
    type: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | None
    refusal: None = None
    tool_calls: list[_ToolCall] | msgspec.UnsetType = msgspec.UNSET


class _Choice(msgspec.Struct):
    index: int
    message: _Message
    finish_reason: str
    logprobs: None = None


class _Completion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: _Usage
    system_fingerprint: str = "playback"


class _Delta(msgspec.Struct):
    role: str | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    tool_calls: list[_ToolCall] | msgspec.UnsetType = msgspec.UNSET


class _ChunkChoice(msgspec.Struct):
    index: int
    delta: _Delta
    finish_reason: str | None = None
    logprobs: None = None


class _Chunk(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[_ChunkChoice]
    usage: _Usage | msgspec.UnsetType | None = msgspec.UNSET
    system_fingerprint: str = "playback"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedReply:
    """An answer, ready to be sent whole or in chunks.

    Parameters
    ----------
    model
        The LLM's name.
    text
        The answer's text, or the arguments of the function call.
    function
        Name of the function that is called; None for an answer in text.
    finish_reason
        Why the answer ends.
    tokens_in, tokens_out
        Tokens of the prompt, and of one choice.
    choices
        Number of equal choices.
    cost_usd
        Recorded cost, told as ``usage.cost`` as some providers do; None where the reply is not as recorded.
    include_usage
        Whether a stream ends with a chunk of its usage.
    ttft_s, latency_s
        Recorded time to the first and to the last token.
    """

    model: str
    text: str
    function: str | None
    finish_reason: Literal["stop", "length", "tool_calls"]
    tokens_in: int
    tokens_out: int
    choices: int
    cost_usd: float | None
    include_usage: bool
    ttft_s: float
    latency_s: float

    def body(self, reply_id: str, created_s: int) -> bytes:
        """Return the whole answer."""
        if self.function is None:
            message = _Message(role="assistant", content=self.text)
        else:
            call = _ToolCall(
                id=f"call_{reply_id}", type="function", function=_Called(name=self.function, arguments=self.text)
            )
            message = _Message(role="assistant", content=None, tool_calls=[call])
        return _encode(
            _Completion(
                id=reply_id,
                object="chat.completion",
                created=created_s,
                model=self.model,
                choices=[
                    _Choice(index=index, message=message, finish_reason=self.finish_reason)
                    for index in range(self.choices)
                ],
                usage=self._usage(),
            )
        )

    def chunks(self, reply_id: str, created_s: int, *, chunk_tokens: int) -> list[bytes]:
        """Return the events of the streamed answer, as they go on the wire, without the last, ``[DONE]``.

        The first carries the role; with `include_usage` the last carries the usage and no choice.
        """
        pending = None if self.include_usage else msgspec.UNSET
        events: list[bytes] = []
        for delta, finish_reason in self._deltas(reply_id, chunk_tokens):
            choices = [
                _ChunkChoice(index=index, delta=delta, finish_reason=finish_reason) for index in range(self.choices)
            ]
            # One chunk per choice, as OpenAI sends them.
            events.extend(self._event(reply_id, created_s, [choice], pending) for choice in choices)
        if self.include_usage:
            events.append(self._event(reply_id, created_s, [], self._usage()))
        return events

    def _deltas(self, reply_id: str, chunk_tokens: int) -> Iterator[tuple[_Delta, str | None]]:
        size = chunk_tokens * _CHARS_PER_TOKEN
        pieces = [self.text[start : start + size] for start in range(0, len(self.text), size)]
        if self.function is None:
            yield _Delta(role="assistant", content=""), None
            for piece in pieces:
                yield _Delta(content=piece), None
        else:
            call = _ToolCall(
                index=0, id=f"call_{reply_id}", type="function", function=_Called(name=self.function, arguments="")
            )
            yield _Delta(role="assistant", content=None, tool_calls=[call]), None
            for piece in pieces:
                yield _Delta(tool_calls=[_ToolCall(index=0, function=_Called(arguments=piece))]), None
        yield _Delta(), self.finish_reason

    def _event(
        self,
        reply_id: str,
        created_s: int,
        choices: list[_ChunkChoice],
        usage: _Usage | msgspec.UnsetType | None,
    ) -> bytes:
        chunk = _Chunk(
            id=reply_id,
            object="chat.completion.chunk",
            created=created_s,
            model=self.model,
            choices=choices,
            usage=usage,
        )
        return b"data: " + _encode(chunk) + b"\n\n"

    def _usage(self) -> _Usage:
        tokens_out = self.tokens_out * self.choices
        return _Usage(
            prompt_tokens=self.tokens_in,
            completion_tokens=tokens_out,
            total_tokens=self.tokens_in + tokens_out,
            cost=msgspec.UNSET if self.cost_usd is None else self.cost_usd,
        )


def plan_reply(request: ChatRequest, answer: RecordedAnswer, *, empty: bool = False) -> PlannedReply:
    """Return the reply to `request`: the recorded answer, cut where the request limits it, or a function call.

    Where the request wants JSON of a schema, it is an example of that instead of the recorded text.

    Parameters
    ----------
    request
        What was asked.
    answer
        What the LLM answered.
    empty
        Whether the answer's text is dropped.
    """
    text, tokens_out, latency_s = answer.text, answer.tokens_out, answer.latency_s
    finish_reason: Literal["stop", "length", "tool_calls"] = "stop"
    function, arguments = _function_call(request)
    limit = request.token_limit()
    schema = request.answer_schema()
    if function is not None:
        text, finish_reason = arguments, "tool_calls"
    elif schema is not None and not empty:
        text = _encode(_arguments(schema, request.question()[0])).decode()
    elif empty:
        text, tokens_out, latency_s = "", 0, answer.ttft_s
    elif limit is not None and limit < tokens_out:
        share = limit / tokens_out
        text, tokens_out, finish_reason = text[: int(len(text) * share)], limit, "length"
        latency_s = answer.ttft_s + (latency_s - answer.ttft_s) * share
    options = request.stream_options
    choices = request.n or 1
    as_recorded = answer.recorded and tokens_out == answer.tokens_out and choices == 1
    return PlannedReply(
        model=request.model,
        text=text,
        function=function,
        finish_reason=finish_reason,
        tokens_in=answer.tokens_in,
        tokens_out=tokens_out,
        choices=choices,
        cost_usd=answer.cost_usd if as_recorded else None,
        include_usage=options is not None and options.include_usage is True,
        ttft_s=answer.ttft_s,
        latency_s=latency_s,
    )


def _function_call(request: ChatRequest) -> tuple[str | None, str]:
    """Return the function to call and its arguments as JSON; None where the answer is text."""
    functions = request.functions()
    if not functions or request.tool_choice == "none":
        return None, ""
    called = functions[0]
    choice = request.tool_choice
    text, _ = request.question()
    if choice is not None and not isinstance(choice, str) and choice.function is not None:
        forced_name = choice.function.name
        called = next(function for function in functions if function.name == forced_name)
    elif choice != _FORCED:
        last = request.messages[-1]
        if last.role != "user" or TOOL_CALL_MARKER not in text:
            return None, ""
    return called.name, _encode(_arguments(called.parameters or {}, text)).decode()


def _arguments(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """Return arguments that fit the schema's required properties, texts being the question."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required")
    names = required if isinstance(required, list) else list(properties)
    return {str(name): _example(properties.get(name), text) for name in names}


def _example(described: object, text: str) -> object:
    if not isinstance(described, dict):
        return text
    choices = described.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    examples: dict[str, object] = {
        "integer": 1,
        "number": 1.5,
        "boolean": True,
        "array": [],
        "object": {},
        "null": None,
    }
    return examples.get(str(described.get("type")), text)
