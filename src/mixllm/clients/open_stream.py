"""A streamed answer: the context that holds its connection, and the iterator of its events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

from mixllm.clients.bodies import check_event, ends_response
from mixllm.clients.failures import timed_out, translated
from mixllm.clients.sse import DONE, SSEParser
from mixllm.errors import InvalidValueError, MissingExtraError, UpstreamProtocolError
from mixllm.types import LLMSpec

try:
    import aiohttp
except ImportError as error:  # pragma: no cover - covered in a process of its own
    raise MissingExtraError("The HTTP client", "gateway") from error

__all__ = ["OpenStream"]

_DRAIN_LIMIT_S = 0.1


class OpenStream:
    """An `UpstreamStream` and its context in one: open on entering, closed on leaving.

    Parameters
    ----------
    spec
        The LLM that answers.
    open_response
        Sends the request and returns the answer's head.
    connect_timeout_s
        For the words of an error.
    max_event_bytes
        Longest event.
    """

    def __init__(
        self,
        *,
        spec: LLMSpec,
        open_response: Callable[[], Awaitable[aiohttp.ClientResponse]],
        connect_timeout_s: float,
        max_event_bytes: int,
    ) -> None:
        self.spec = spec
        self.open_response = open_response
        self.connect_timeout_s = connect_timeout_s
        self.max_event_bytes = max_event_bytes
        self._response: aiohttp.ClientResponse | None = None
        self._parser = SSEParser(max_event_bytes=max_event_bytes)
        self._ready: deque[bytes] = deque()
        self._done = False

    async def __aenter__(self) -> Self:
        response = await self.open_response()
        if response.content_type != "text/event-stream":
            response.close()
            raise UpstreamProtocolError(
                self.spec.name,
                f"it answered a request for a stream with {response.content_type[:80]!r}. Check that it can stream.",
            )
        self._response = response
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        response, self._response = self._response, None
        if response is None:
            return
        try:
            if self._done and kind is None:
                await _drain(response)
        finally:
            # Closes the connection unless the whole answer has been read; then it is back in the pool already.
            response.close()

    def events(self) -> AsyncIterator[bytes]:
        """Return the iterator of the events' data, ``[DONE]`` included; there is one, however often it is asked for.

        Streams of the Responses API have no ``[DONE]`` of their own; one follows the event that ends them.
        """
        return self

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Yield the events that one read has brought, together; what is wrong is told after those before it."""
        while await self._arrived():
            batch: list[bytes] = []
            while self._ready:
                data = self._ready[0]
                try:
                    batch.append(self._next())
                except UpstreamProtocolError:
                    if not batch:
                        raise
                    self._ready.appendleft(data)
                    break
            yield batch

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not await self._arrived():
            raise StopAsyncIteration
        return self._next()

    async def _arrived(self) -> bool:
        """Return whether there is an event, once there is one or the stream has ended."""
        while not self._ready:
            if self._done or self._response is None:
                return False
            await self._read(self._response)
        return True

    def _next(self) -> bytes:
        data = self._ready.popleft()
        if data == DONE:
            self._done = True
            self._ready.clear()
        else:
            check_event(self.spec, data)
            if ends_response(data):
                self._ready = deque((DONE,))
        return data

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        try:
            chunk = await response.content.readany()
            if chunk:
                self._ready.extend(self._parser.feed(chunk))
                return
        except TimeoutError as error:
            raise timed_out(self.spec, error, self.connect_timeout_s) from error
        except aiohttp.ClientPayloadError as error:
            raise self._broken() from error
        except InvalidValueError as error:
            raise UpstreamProtocolError(
                self.spec.name,
                f"its stream holds an event above max_event_bytes = {self.max_event_bytes}. Raise that limit.",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise translated(self.spec, error) from error
        if self._parser.unfinished != DONE:
            raise self._broken()
        self._ready.append(DONE)

    def _broken(self) -> UpstreamProtocolError:
        return UpstreamProtocolError(self.spec.name, "its stream ended before [DONE]. Try again, or another LLM.")


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read what follows ``[DONE]``, in most cases nothing: only an answer read to its end frees its connection."""
    if response.content.at_eof():
        return
    try:
        async with asyncio.timeout(_DRAIN_LIMIT_S):
            await response.content.read()
    except (TimeoutError, aiohttp.ClientError, OSError):
        return
