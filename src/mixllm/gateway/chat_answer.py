"""The answer to one chat request: passed on from the LLM that delivered, and recorded, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from starlette.responses import Response

from mixllm.errors import UpstreamError, UpstreamProtocolError
from mixllm.gateway.answers import error_event, error_response, raw_response
from mixllm.gateway.calling import Attempt, Calls, StreamedAnswer
from mixllm.gateway.requests import ChatRequest
from mixllm.gateway.usage import Usage
from mixllm.interfaces import UpstreamReply
from mixllm.types import OutcomeStatus

__all__ = ["ChatAnswer"]

_DONE = b"[DONE]"


class _Seen:
    """What a stream has told of itself so far, and how it is passed on."""

    __slots__ = ("chunks", "named", "usage")

    def __init__(self, named: Callable[[bytes], bytes]) -> None:
        self.named = named
        """Puts the LLM's name into an event."""
        self.chunks = 0
        self.usage: Usage | None = None


class ChatAnswer:
    """The answer to one chat request.

    Parameters
    ----------
    chat
        The request.
    calls
        Its calls.
    """

    def __init__(self, *, chat: ChatRequest, calls: Calls) -> None:
        self.chat = chat
        self.calls = calls
        self.dialect = chat.dialect
        self.watched = calls.watched
        self.llm: str | None = None
        """The LLM that answered; None: none has."""

    async def respond(self) -> Response:
        """Call LLMs and answer; what fails before the answer's first byte becomes an error with a status."""
        try:
            attempt = await self.calls.reach()
            self.llm = attempt.spec.name
            if attempt.reply is not None:
                return self._whole(attempt, attempt.reply)
            assert attempt.batches is not None
            headers = self.calls.headers(attempt)
            headers["cache-control"] = "no-cache"
            return StreamedAnswer(
                self._pass_on(attempt, attempt.batches),
                close=lambda: _leave(attempt),
                headers=headers,
                max_s=self.calls.state.calls.max_stream_s,
            )
        except UpstreamError as error:
            return error_response(error, headers=self.calls.headers())
        except asyncio.CancelledError:
            self.calls.end(OutcomeStatus.CANCELLED)
            raise
        except BaseException as error:
            # A fault of the gateway itself: its words are for the log alone, as they could hold anything.
            self.calls.end(OutcomeStatus.ERROR, error=type(error).__name__)
            raise

    def _whole(self, attempt: Attempt, reply: UpstreamReply) -> Response:
        answer = self.dialect.read_answer(reply.body)
        attempt.record(OutcomeStatus.OK, usage=answer.usage, ended_s=attempt.delivered_s)
        if self.watched is not None:
            self.watched.read_body(reply.body)
            self.watched.answered(answer.usage)
        name = attempt.spec.name
        content = reply.body if answer.model == name else self.dialect.named(reply.body, name)
        headers = self.calls.headers(attempt)
        cost_usd = self.calls.cost_usd
        if cost_usd is not None:
            headers["x-mixllm-cost-usd"] = f"{cost_usd:.9f}"
        return raw_response(content, content_type=reply.content_type, headers=headers)

    async def _pass_on(self, attempt: Attempt, batches: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[bytes]:
        """Yield the stream: what arrives together goes on together, as each write costs as much as many events."""
        seen = _Seen(self.dialect.naming(attempt.spec.name))
        batch = attempt.first
        out: list[bytes] = []
        try:
            while batch and batch[-1] != _DONE:
                self._read(batch, seen, attempt.spec.name, out)
                if out:
                    yield b"".join(out)
                    out.clear()
                batch = await anext(batches, ())
            self._read(batch[:-1], seen, attempt.spec.name, out)
        except UpstreamError as error:
            attempt.broke(error, usage=seen.usage)
            self.calls.tell(attempt, error)
            yield b"".join([*out, error_event(error)])
            return
        attempt.record(OutcomeStatus.OK, usage=seen.usage, chunks=seen.chunks)
        if self.watched is not None:
            self.watched.answered(seen.usage)
        out.append(self.dialect.event(_DONE))
        yield b"".join(out)

    def _read(self, batch: Sequence[bytes], seen: _Seen, name: str, out: list[bytes]) -> None:
        """Read events, and put them into `out` as they go to the client."""
        dialect, watched, wants_usage = self.dialect, self.watched, self.chat.wants_usage
        for data in batch:
            chunk = dialect.read_event(data)
            if chunk.choices:
                seen.chunks += 1
                if watched is not None:
                    watched.read_choices(chunk.choices)
            seen.usage = chunk.usage or seen.usage
            if chunk.choices or chunk.usage is None or wants_usage:
                if chunk.model is not None and chunk.model != name:
                    data = _named(data, seen, name)
                out.append(dialect.event(data))


def _named(data: bytes, seen: _Seen, name: str) -> bytes:
    try:
        return seen.named(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(name, "its stream holds an event that is not UTF-8.") from error


async def _leave(attempt: Attempt) -> None:
    attempt.record(OutcomeStatus.CANCELLED)
    await attempt.close()
