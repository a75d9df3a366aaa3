"""The answer to one chat request: passed on from the LLM that delivered, and recorded, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

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
            assert attempt.events is not None
            headers = self.calls.headers(attempt)
            headers["cache-control"] = "no-cache"
            return StreamedAnswer(
                self._pass_on(attempt, attempt.events),
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

    async def _pass_on(self, attempt: Attempt, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        usage: Usage | None = None
        chunks = 0
        data = attempt.first
        name = attempt.spec.name
        try:
            while data != _DONE:
                chunk = self.dialect.read_event(data)
                chunks += bool(chunk.choices)
                usage = chunk.usage or usage
                if self.watched is not None and chunk.choices:
                    self.watched.read_choices(chunk.choices)
                if chunk.choices or chunk.usage is None or self.chat.wants_usage:
                    yield self.dialect.event(self._named(data, chunk.model, name))
                data = await anext(events, _DONE)
        except UpstreamError as error:
            attempt.broke(error, usage=usage)
            self.calls.tell(attempt, error)
            yield error_event(error)
            return
        attempt.record(OutcomeStatus.OK, usage=usage, chunks=chunks)
        if self.watched is not None:
            self.watched.answered(usage)
        yield self.dialect.event(_DONE)

    def _named(self, data: bytes, model: str | None, name: str) -> bytes:
        if model is None or model == name:
            return data
        try:
            return self.dialect.named(data, name)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamProtocolError(name, "its stream holds an event that is not UTF-8.") from error


async def _leave(attempt: Attempt) -> None:
    attempt.record(OutcomeStatus.CANCELLED)
    await attempt.close()
