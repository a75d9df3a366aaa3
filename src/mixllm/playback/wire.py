"""Requests of OpenAI's chat API as the playback server reads them, and its errors."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["ChatRequest", "ErrorBody", "decode_request", "encode_error"]

MAX_CHOICES = 128

_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None

    def text(self) -> str:
        content = self.content
        if isinstance(content, str):
            return content
        return "\n".join(part.text for part in content or () if part.type == "text" and part.text is not None)


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Function(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _ToolChoice(msgspec.Struct):
    type: str
    function: _Function | None = None


class _Schema(msgspec.Struct):
    schema: dict[str, Any] | None = None


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class ChatRequest(msgspec.Struct):
    """The fields of a request that change the answer; all others are let through unread."""

    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    response_format: _ResponseFormat | None = None

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError("messages must hold one message or more")
        if self.n is not None and not 1 <= self.n <= MAX_CHOICES:
            raise ValueError(f"n must be between 1 and {MAX_CHOICES}")
        for limit in (self.max_tokens, self.max_completion_tokens):
            if limit is not None and limit < 1:
                raise ValueError("max_tokens and max_completion_tokens must be 1 or more")
        if isinstance(self.tool_choice, _ToolChoice):
            name = self.tool_choice.function.name if self.tool_choice.function else None
            if name not in {function.name for function in self.functions()}:
                raise ValueError("tool_choice names a function that is not among tools")

    def question(self) -> tuple[str, str | None]:
        """Return the text of the last user message, and of all system messages or None."""
        text, system = "", []
        for message in self.messages:
            if message.role == "user":
                text = message.text()
            elif message.role in ("system", "developer"):
                system.append(message.text())
        return text, "\n\n".join(system) if system else None

    def functions(self) -> list[_Function]:
        """Return the functions among the tools."""
        return [tool.function for tool in self.tools or () if tool.function is not None]

    def answer_schema(self) -> dict[str, Any] | None:
        """Return the JSON schema that the answer has to fit; None where it may be any text."""
        wanted = self.response_format
        if wanted is None or wanted.type != "json_schema" or wanted.json_schema is None:
            return None
        return wanted.json_schema.schema

    def token_limit(self) -> int | None:
        """Return the request's limit on the answer's tokens."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class _Error(msgspec.Struct):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct):
    """An error in OpenAI's shape."""

    error: _Error


decode_request = msgspec.json.Decoder(ChatRequest).decode
"""Bytes to a `ChatRequest`; raises `msgspec.DecodeError`."""


def encode_error(message: str, *, status: int, param: str | None = None, code: str | None = None) -> bytes:
    """Return the body of an error.

    Examples
    --------
    >>> encode_error("slow down", status=429)
    b'{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":null}}'
    """
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return msgspec.json.encode(ErrorBody(error=_Error(message=message, type=kind, param=param, code=code)))
