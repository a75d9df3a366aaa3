"""``POST /v1/chat/completions`` of the playback server."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import nullcontext

import msgspec

from mixllm.clock import SystemClock
from mixllm.errors import UnknownLLMError
from mixllm.interfaces import Clock
from mixllm.playback.answers import AnswerBook
from mixllm.playback.connection import Connection, Receive, Scope, Send
from mixllm.playback.faults import (
    BrokenStream,
    ConnectionDrop,
    EmptyAnswer,
    ErrorStatus,
    Fault,
    FaultBoard,
    Garbage,
    Hang,
    Slow,
)
from mixllm.playback.replies import PlannedReply, plan_reply
from mixllm.playback.requests import RequestRing
from mixllm.playback.wire import ChatRequest, decode_request, encode_error

__all__ = ["ChatEndpoint"]

_GARBAGE = b"<html><body>502 Bad Gateway</body></html>"
_DONE = b"data: [DONE]\n\n"


class ChatEndpoint:
    """An ASGI application that answers chats from a book.

    Parameters
    ----------
    book
        The answers.
    faults
        Faults of each LLM.
    ring
        Keeps the requests.
    time_scale
        Recorded seconds are played in this many; 0 answers at once.
    chunk_tokens
        Length of a streamed piece, in tokens of 4 characters.
    capacity
        Calls that each LLM serves at the same time; further ones wait in their order. None: all at once.
    clock
        For the answers' ``created``; None takes the system's.
    """

    def __init__(
        self,
        *,
        book: AnswerBook,
        faults: FaultBoard,
        ring: RequestRing,
        time_scale: float,
        chunk_tokens: int,
        capacity: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.book = book
        self.faults = faults
        self.ring = ring
        self.time_scale = time_scale
        self.chunk_tokens = chunk_tokens
        self.clock: Clock = SystemClock() if clock is None else clock
        self.counts: Counter[str] = Counter(requests=0, streams=0, refused=0, faults=0, left=0)
        """How many requests came, were streamed, were malformed or for no LLM, met a fault, and left early."""
        self.by_llm: Counter[str] = Counter(dict.fromkeys(book.llms, 0))
        """Requests of each LLM."""
        self._ids = itertools.count(1)
        self._places = {} if capacity is None else {llm: asyncio.Semaphore(capacity) for llm in book.llms}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        connection = Connection(scope, receive, send)
        try:
            await self._answer(scope, connection)
        except asyncio.CancelledError:
            # The server is closing and has cut the connection; an error here would only end up in its log.
            self.counts["left"] += 1
        finally:
            connection.done()

    async def _answer(self, scope: Scope, connection: Connection) -> None:
        body = await connection.body()
        self.counts["requests"] += 1
        if body is None:
            self.counts["left"] += 1
            return
        if self.ring.size:
            self.ring.keep(scope["path"], scope["headers"], body)
        try:
            request = decode_request(body)
        except msgspec.DecodeError as error:
            await self._refuse(connection, 400, encode_error(f"The request body cannot be read: {error}.", status=400))
            return
        text, system = request.question()
        try:
            answer = self.book.answer(request.model, text, system)
        except UnknownLLMError as error:
            refusal = encode_error(str(error), status=404, param="model", code="model_not_found")
            await self._refuse(connection, 404, refusal)
            return
        self.by_llm[request.model] += 1
        fault = self.faults.strike(request.model)
        reply = plan_reply(request, answer, empty=isinstance(fault, EmptyAnswer))
        if fault is not None:
            self.counts["faults"] += 1
        async with self._places.get(request.model) or nullcontext():
            left = await (
                self._play(connection, request, reply)
                if fault is None
                else self._play_fault(connection, request, reply, fault)
            )
        self.counts["left"] += left

    async def _refuse(self, connection: Connection, status: int, body: bytes) -> None:
        self.counts["refused"] += 1
        await connection.answer(status, body)

    async def _play_fault(
        self, connection: Connection, request: ChatRequest, reply: PlannedReply, fault: Fault
    ) -> bool:
        """Answer as the fault wants it; return True where the client left before the end."""
        match fault:
            case ErrorStatus(status=status, retry_after_s=retry_after_s):
                headers = [] if retry_after_s is None else [(b"retry-after", b"%d" % retry_after_s)]
                message = f"Playback fault: {reply.model} answers with status {status}."
                await connection.answer(status, encode_error(message, status=status), *headers)
            case Hang(for_s=for_s):
                return await connection.wait(for_s) or await self._play(connection, request, reply)
            case Slow(factor=factor, add_s=add_s):
                return await connection.wait(add_s) or await self._play(connection, request, reply, slow=factor)
            case Garbage() if request.stream:
                await connection.begin_stream()
                await connection.send_part(b"data: " + _GARBAGE + b"\n\n" + _DONE, more=False)
            case Garbage():
                await connection.answer(200, _GARBAGE)
            case BrokenStream(after_chunks=after_chunks):
                return await self._play(connection, request, reply, break_after=after_chunks)
            case EmptyAnswer():
                return await self._play(connection, request, reply)
            case ConnectionDrop():
                await connection.cut()
        return False

    async def _play(
        self,
        connection: Connection,
        request: ChatRequest,
        reply: PlannedReply,
        *,
        slow: float = 1.0,
        break_after: int | None = None,
    ) -> bool:
        """Send the reply at its recorded pace; return True where the client left before the end."""
        scale = self.time_scale * slow
        reply_id = f"chatcmpl-{next(self._ids):08x}"
        created_s = int(self.clock.time_s())
        if request.stream:
            self.counts["streams"] += 1
            events = reply.chunks(reply_id, created_s, chunk_tokens=self.chunk_tokens)
            return await self._stream(connection, reply, events, scale, break_after)
        if await connection.wait(reply.latency_s * scale):
            return True
        body = reply.body(reply_id, created_s)
        if break_after is None:
            await connection.answer(200, body)
        else:
            await connection.begin_cut_answer(body)
            await connection.cut()
        return False

    async def _stream(
        self, connection: Connection, reply: PlannedReply, events: list[bytes], scale: float, break_after: int | None
    ) -> bool:
        loop = asyncio.get_running_loop()
        first_s = loop.time() + reply.ttft_s * scale
        step_s = (reply.latency_s - reply.ttft_s) * scale / max(1, len(events) - 1)
        for place, event in enumerate(events):
            # Against a fixed timetable, so that the delays of waking up do not add up.
            if await connection.wait(first_s + place * step_s - loop.time() if scale else 0.0):
                return True
            if place == 0:
                await connection.begin_stream()
            if place == break_after:
                break
            await connection.send_part(event)
        if break_after is not None:
            await connection.cut()
            return False
        await connection.send_part(_DONE, more=False)
        return False
