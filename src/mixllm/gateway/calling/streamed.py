"""A streamed answer on its way to the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mixllm.errors import MixLLMError
from mixllm.gateway.answers import StoppingError, error_event
from mixllm.gateway.departure import ClientLeftError, LeaveWatch

__all__ = ["StreamTooLongError", "StreamedAnswer"]

_LAST_WORD_S = 1.0
"""How long a client that reads slowly is waited for with the event that ends its stream."""


class StreamTooLongError(MixLLMError):
    """A stream took longer than the gateway lets any."""

    def __init__(self, max_s: float) -> None:
        super().__init__(f"The stream took longer than calls.max_stream_s = {max_s:g}. Ask for less, or raise it.")


class StreamedAnswer(StreamingResponse):
    """A stream that leaves its upstream however it ends: read to the end, broken, too long, or left by the client.

    Nothing is read ahead: the next event is asked for when the last one has been taken over by the client's connection,
    so a client that reads slowly makes its LLM send slowly.

    Parameters
    ----------
    content
        The events.
    close
        Called at the end.
    headers
        Headers of the answer.
    max_s
        How long it may take.
    last_words
        Makes the event that ends it for an error.
    """

    def __init__(
        self,
        content: AsyncIterator[bytes],
        *,
        close: Callable[[], Awaitable[None]],
        headers: dict[str, str],
        max_s: float,
        last_words: Callable[[Exception], bytes] = error_event,
    ) -> None:
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._close = close
        self._max_s = max_s
        self.last_words = last_words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del scope
        limit = asyncio.timeout(self._max_s)
        try:
            # Not as Starlette watches: most streams need neither its group of tasks nor anybody who waits beside them.
            with LeaveWatch(receive):
                async with limit:
                    await self.stream_response(send)
        except ClientLeftError:
            pass
        except TimeoutError:
            if not limit.expired():
                raise
            await self._end(send, StreamTooLongError(self._max_s))
        except asyncio.CancelledError:
            # Only a server that stops cancels the whole answer.
            await self._end(send, StoppingError())
        finally:
            # Closes the connection, which cancels the LLM's work where it still goes on.
            await self._close()

    async def _end(self, send: Send, error: Exception) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_S):
                await send({"type": "http.response.body", "body": self.last_words(error), "more_body": False})
