"""Anthropic's requests to OpenAI's, and OpenAI's answers to Anthropic's, by LiteLLM's adapter."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from mixllm.clients.litellm_library import load_litellm
from mixllm.gateway.bodies import InvalidBodyError
from mixllm.gateway.dialect import sse_event
from mixllm.gateway.messages.errors import anthropic_error
from mixllm.gateway.translation import ChatChunks

__all__ = ["FEATURE", "MessagesTranslation"]

FEATURE = "The endpoint /v1/messages"

_ADAPTERS = (
    "litellm.llms.anthropic.messages.adapters.transformation",
    "litellm.llms.anthropic.experimental_pass_through.adapters.transformation",  # where versions before 1.100 have it
)
_NEUTRAL_MODEL = "mixllm"
"""The translation is the same for every LLM: which one answers is not known yet."""


class MessagesTranslation:
    """One request of Anthropic's Messages API, and its answer.

    Parameters
    ----------
    request
        The request's body, decoded; it is not changed.

    Raises
    ------
    MissingExtraError
        Where LiteLLM is not installed.
    InvalidBodyError
        Where the request is not Anthropic's.
    """

    api = "Anthropic"

    def __init__(self, request: Mapping[str, Any]) -> None:
        load_litellm(FEATURE)
        self._types = importlib.import_module("litellm.types.utils")
        self._adapter = _adapter()
        self.model = request.get("model")
        self.chat, self._tool_names = self._translated(request)

    def fields(self) -> dict[str, msgspec.Raw]:
        """Return the fields of the chat request."""
        return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in self.chat.items()}

    def body(self, answer: bytes) -> bytes:
        """Return a whole answer."""
        decoded = self._types.ModelResponse(**msgspec.json.decode(answer))
        return msgspec.json.encode(self._adapter.translate_completion_output_params(decoded, self._tool_names))

    async def events(self, chunks: ChatChunks) -> AsyncIterator[bytes]:
        """Yield the events of a stream."""
        source = aiter(chunks)
        first = await anext(source, None)
        if first is None:
            return

        async def stream() -> AsyncIterator[Any]:
            yield self._types.ModelResponseStream(**first)
            async for chunk in source:
                yield self._types.ModelResponseStream(**chunk)

        model = str(first.get("model") or self.model)
        async for event in self._adapter.translate_completion_output_params_streaming(
            stream(), model, self._tool_names
        ):
            yield event

    def error_body(self, status: int, error: dict[str, Any]) -> bytes:
        """Return the body of an error."""
        return anthropic_error(status, error)

    def error_event(self, error: dict[str, Any]) -> bytes:
        """Return the event that ends a broken stream."""
        return sse_event(anthropic_error(None, error), kind=b"error")

    def _translated(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        try:
            chat, tool_names = self._adapter.translate_completion_input_params_with_tool_mapping(
                {**request, "model": _NEUTRAL_MODEL}, custom_llm_provider="openai"
            )
        except Exception as error:
            # The library fails in any way on what it does not expect; its words could hold the prompt.
            raise InvalidBodyError(
                f"The request cannot be read as Anthropic's ({type(error).__name__}). Check messages, tools and system."
            ) from error
        chat = {name: value for name, value in chat.items() if value is not None}
        chat["model"] = self.model
        for message in chat["messages"]:
            if message.get("thinking_blocks", ...) is None:
                del message["thinking_blocks"]
        if chat.get("stream"):
            chat["stream_options"] = {"include_usage": True}
        return chat, tool_names


def _adapter() -> Any:
    for name in _ADAPTERS[:-1]:
        try:
            return importlib.import_module(name).AnthropicAdapter()
        except ModuleNotFoundError:
            continue
    return importlib.import_module(_ADAPTERS[-1]).AnthropicAdapter()
