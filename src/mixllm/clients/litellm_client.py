"""The client of providers that do not speak OpenAI's protocol: calls through LiteLLM as a library."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from mixllm.clients.keys import key_for
from mixllm.clients.litellm_library import load_litellm
from mixllm.clients.one_by_one import OneByOne
from mixllm.clients.retry_after import retry_after_s
from mixllm.clients.sse import DONE
from mixllm.clock import SystemClock
from mixllm.errors import UpstreamError, UpstreamProtocolError, UpstreamStatusError, UpstreamTimeoutError
from mixllm.interfaces import Clock, UpstreamReply
from mixllm.types import LLMSpec, Secret

__all__ = ["LiteLLMClient"]

_FEATURE = "A provider that does not speak OpenAI's protocol"
_CALLS = {"/chat/completions": "acompletion", "/embeddings": "aembedding"}
_FIELDS = frozenset(
    {
        "audio",
        "dimensions",
        "encoding_format",
        "frequency_penalty",
        "function_call",
        "functions",
        "input",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
    }
)
"""What of a request is passed on. The library takes its own settings the same way, endpoints and keys among them, and
those are no business of who sends a request."""

_T = TypeVar("_T")


class LiteLLMClient:
    """Calls to any provider that LiteLLM knows, answered in OpenAI's shape.

    Bodies are translated, so that they do not come back byte for byte, and fields that are not known here do not go
    out. What the provider cannot do (a seed, logprobs) is left out of the request by LiteLLM.

    Time limits: as `mixllm.clients.OpenAIClient`, ``spec.timeout_s`` for a whole answer, and for each silence of a
    stream.

    Parameters
    ----------
    environ
        Where ``spec.api_key_env`` is looked up, at each call; None takes the process's environment. Providers with
        credentials of another kind (Bedrock, Vertex AI) find them in the process's environment by themselves.
    secrets
        Literal keys by the LLM's name; they go before ``spec.api_key_env``.
    clock
        For a ``Retry-After`` that is a date; None takes the system's.

    Examples
    --------
    >>> LiteLLMClient(environ={}, secrets={"claude": Secret("sk-1")})
    LiteLLMClient()
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        secrets: Mapping[str, Secret] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.secrets: Mapping[str, Secret] = MappingProxyType({}) if secrets is None else secrets
        self.clock: Clock = SystemClock() if clock is None else clock
        self._closed = False
        self._litellm: Any = None

    def __repr__(self) -> str:
        return "LiteLLMClient()"

    async def complete(self, spec: LLMSpec, *, path: str, body: bytes) -> UpstreamReply:
        """Make the call that `body` asks for and return the whole answer.

        Raises
        ------
        MissingExtraError
            Where LiteLLM is not installed.
        UpstreamError
            As `mixllm.clients.OpenAIClient.complete` does.
        """
        answer = await self._called(spec, path, body)
        return UpstreamReply(body=answer.model_dump_json(exclude_none=True).encode())

    @asynccontextmanager
    async def stream(self, spec: LLMSpec, *, path: str, body: bytes) -> AsyncIterator[_Stream]:
        """Make the call and open the stream of its answer; leaving the context cancels it."""
        chunks = await self._called(spec, path, body)
        if not hasattr(chunks, "__aiter__"):
            raise UpstreamProtocolError(
                spec.name, "it answered a request for a stream whole. Check that it can stream."
            )
        stream = _Stream(client=self, spec=spec, chunks=chunks)
        try:
            yield stream
        finally:
            await stream.close()

    async def close(self) -> None:
        """Close the library's connections; further calls raise `UpstreamError`."""
        closed, self._closed = self._closed, True
        if self._litellm is not None and not closed:
            await self._litellm.close_litellm_async_clients()

    async def _called(self, spec: LLMSpec, path: str, body: bytes) -> Any:
        if self._closed:
            raise UpstreamError(spec.name, "the client is closed. Make a new one.")
        if path not in _CALLS:
            raise UpstreamError(spec.name, f"its provider has no {path}. Call /chat/completions or /embeddings.")
        key = key_for(spec, secrets=self.secrets, environ=self.environ)
        if self._litellm is None:
            self._litellm = await asyncio.to_thread(load_litellm, _FEATURE)  # takes seconds
        asked: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        call = getattr(self._litellm, _CALLS[path])(
            **{name: value for name, value in asked.items() if name in _FIELDS},
            model=f"{spec.provider}/{spec.upstream_model}",
            api_base=spec.api_base,
            api_key=key,
            timeout=spec.timeout_s,
            max_retries=0,
            drop_params=True,
        )
        return await self._guarded(spec, call)

    async def _guarded(self, spec: LLMSpec, call: Awaitable[_T]) -> _T:
        """Await `call`, within the time limit; what fails becomes an `UpstreamError`."""
        try:
            async with asyncio.timeout(spec.timeout_s):
                return await call
        except StopAsyncIteration:
            raise
        except Exception as error:  # the library's tree of errors is the providers' together
            raise self._translated(spec, error) from error

    def _translated(self, spec: LLMSpec, error: Exception) -> UpstreamError:
        exceptions = self._litellm.exceptions
        error = getattr(error, "original_exception", None) or error  # of a stream that broke off
        if isinstance(error, TimeoutError | exceptions.Timeout):
            return UpstreamTimeoutError(
                spec.name,
                f"its provider took longer than timeout_s = {spec.timeout_s:g}. Raise timeout_s, or call it less.",
            )
        status = getattr(error, "status_code", None)
        # The library gives a status to everything, also to what never got an answer.
        if isinstance(error, exceptions.APIConnectionError) or not isinstance(status, int):
            return UpstreamError(spec.name, f"its provider was not reached or understood ({type(error).__name__}).")
        headers = getattr(error, "litellm_response_headers", None) or {}
        said = {"message": str(getattr(error, "message", error))[:4000], "type": type(error).__name__}
        body = msgspec.json.encode({"error": {**said, "param": None, "code": None}})
        return UpstreamStatusError(spec.name, status, body, retry_after_s(headers, now_s=self.clock.time_s()))


class _Stream(OneByOne):
    """An open stream of the library's."""

    def __init__(self, *, client: LiteLLMClient, spec: LLMSpec, chunks: Any) -> None:
        self._client = client
        self._spec = spec
        self._chunks = chunks

    async def events(self) -> AsyncIterator[bytes]:
        """Yield each chunk as the data of an event, and ``[DONE]``."""
        source = aiter(self._chunks)
        finished = False
        while True:
            try:
                chunk = await self._client._guarded(self._spec, anext(source))  # noqa: SLF001 - the stream's own client
            except StopAsyncIteration:
                break
            except UpstreamTimeoutError:
                raise
            except UpstreamError as error:
                raise UpstreamProtocolError(
                    self._spec.name, "its stream broke off with an error. Try again, or another LLM."
                ) from error
            finished = finished or any(choice.finish_reason for choice in chunk.choices)
            yield chunk.model_dump_json(exclude_none=True).encode()
        if not finished:
            raise UpstreamProtocolError(self._spec.name, "its stream ended unfinished. Try again, or another LLM.")
        yield DONE

    async def close(self) -> None:
        """Leave the stream."""
        closing = getattr(self._chunks, "aclose", None)
        if closing is not None:
            await closing()
