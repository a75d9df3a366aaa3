"""The Responses API told as a chat, and the chat's answer told back, by LiteLLM's bridge."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from mixllm.clients.litellm_library import load_litellm
from mixllm.gateway.bodies import InvalidBodyError
from mixllm.gateway.dialect import CHAT, sse_event
from mixllm.gateway.requests import ChatRequest
from mixllm.gateway.translation import ChatChunks
from mixllm.types import Endpoint

__all__ = ["FEATURE", "ResponsesBridge"]

FEATURE = "The endpoint /v1/responses, for LLMs that only have chats,"

_MODULES = "litellm.responses.litellm_completion_transformation"
_NEUTRAL_MODEL = "mixllm"
_PROVIDER = "openai"
_LIBRARY_S_OWN = ("custom_llm_provider", "extra_headers", "reasoning_summary", "context_management")
_KEPT = ("top_logprobs", "seed", "stop", "user", "metadata", "store", "prompt_cache_key")
"""Fields of the request that mean the same in a chat and that the bridge leaves out."""


_ANY = msgspec.json.Decoder(float_hook=float)


class ResponsesBridge:
    """One request of the Responses API for an LLM that only has chats.

    Parameters
    ----------
    request
        The request, as it came.

    Raises
    ------
    MissingExtraError
        Where LiteLLM is not installed.
    """

    api = "the Responses API"

    def __init__(self, request: ChatRequest) -> None:
        load_litellm(FEATURE)
        self._config = importlib.import_module(f"{_MODULES}.transformation").LiteLLMCompletionResponsesConfig
        self._streaming = importlib.import_module(f"{_MODULES}.streaming_iterator").LiteLLMCompletionStreamingIterator
        self._types = importlib.import_module("litellm.types.utils")
        self._request = request
        self._asked: dict[str, Any] = {name: _ANY.decode(raw) for name, raw in request.fields.items()}
        self._input = self._asked.pop("input", "")

    def chat(self) -> ChatRequest:
        """Return the chat that is sent; raises `InvalidBodyError` where the request cannot be told as one."""
        try:
            chat = self._config.transform_responses_api_request_to_chat_completion_request(
                model=_NEUTRAL_MODEL,
                input=self._input,
                responses_api_request=self._asked,
                stream=self._request.stream or None,
                custom_llm_provider=_PROVIDER,
            )
        except Exception as error:
            # The library fails in any way on what it does not expect; its words could hold the prompt.
            raise InvalidBodyError(
                f"The request cannot be told as a chat ({type(error).__name__}), and the LLM has no /responses. Check "
                "input and tools."
            ) from error
        chat |= {name: self._asked[name] for name in _KEPT if name in self._asked}
        fields = {
            name: msgspec.Raw(msgspec.json.encode(value)) for name, value in chat.items() if name not in _LIBRARY_S_OWN
        }
        query = msgspec.structs.replace(self._request.query, endpoints=frozenset({Endpoint.CHAT}))
        return msgspec.structs.replace(self._request, fields=fields, dialect=CHAT, wants_usage=True, query=query)

    def body(self, answer: bytes) -> bytes:
        """Return a whole answer."""
        response = self._config.transform_chat_completion_response_to_responses_api_response(
            request_input=self._input,
            responses_api_request=self._asked,
            chat_completion_response=self._types.ModelResponse(**msgspec.json.decode(answer)),
        )
        body: str = response.model_dump_json()
        return body.encode()

    async def events(self, chunks: ChatChunks) -> AsyncIterator[bytes]:
        """Yield the events of a stream."""
        source = aiter(chunks)
        first = await anext(source, None)
        if first is None:
            return
        events = self._streaming(
            model=str(first.get("model") or ""),
            litellm_custom_stream_wrapper=_Chunks(first, source, self._types.ModelResponseStream),
            request_input=self._input,
            responses_api_request=self._asked,
            custom_llm_provider=_PROVIDER,
        )
        async for event in events:
            yield sse_event(event.model_dump_json().encode(), kind=str(event.type.value).encode())

    def error_body(self, status: int, error: dict[str, Any]) -> bytes:
        """Return the body of an error: it has OpenAI's shape here too."""
        del status
        return msgspec.json.encode({"error": error})

    def error_event(self, error: dict[str, Any]) -> bytes:
        """Return the event that ends a broken stream, which OpenAI's clients raise."""
        return sse_event(msgspec.json.encode({"type": "error", "error": error}), kind=b"error")


class _Chunks:
    """What the library's iterator wants of a stream of its own."""

    logging_obj = None

    def __init__(self, first: dict[str, Any], rest: AsyncIterator[dict[str, Any]], kind: Any) -> None:
        self._first: dict[str, Any] | None = first
        self._rest = rest
        self._kind = kind

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> Any:
        first, self._first = self._first, None
        return self._kind(**(await anext(self._rest) if first is None else first))

    async def aclose(self) -> None:
        """Do nothing: the stream is closed by whoever opened it."""
