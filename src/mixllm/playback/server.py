"""The playback server as an ASGI application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from mixllm.errors import InvalidValueError, MissingExtraError, UnknownLLMError
from mixllm.interfaces import Clock
from mixllm.playback.answers import AnswerBook
from mixllm.playback.chat import ChatEndpoint
from mixllm.playback.faults import Fault, FaultBoard
from mixllm.playback.requests import RequestRing
from mixllm.playback.wire import encode_error
from mixllm.units import non_negative

try:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
except ImportError as error:  # pragma: no cover - covered in a process of its own
    raise MissingExtraError("The playback server", "gateway") from error

__all__ = ["playback_app"]

_decode_faults = msgspec.json.Decoder(list[Fault] | Fault).decode


def playback_app(
    book: AnswerBook,
    *,
    faults: Mapping[str, Sequence[Fault]] | None = None,
    time_scale: float = 1.0,
    chunk_tokens: int = 8,
    seed: int = 0,
    keep_requests: int = 0,
    capacity: int | None = None,
    clock: Clock | None = None,
) -> Starlette:
    """Return an application that answers as the LLMs of a log did.

    ===========================================  ====================================================================
    ``POST /v1/chat/completions``                plain and streamed
    ``GET /v1/models``                           the LLMs
    ``GET /health``                              ``{"status": "ok"}``
    ``GET /playback/faults``                     the faults by LLM
    ``POST | DELETE /playback/faults/{llm}``     replace the LLM's faults by one or a list of them; remove them
    ``GET /playback/requests?limit=1``           the newest requests, newest first, where `keep_requests` is above 0
    ``GET /playback/counts``                     counts of requests, by kind and by LLM
    ===========================================  ====================================================================

    Parameters
    ----------
    book
        The answers.
    faults
        Faults to begin with, by LLM.
    time_scale
        Recorded seconds are played in this many: 1 is real time, 0 answers at once.
    chunk_tokens
        Length of a streamed piece, in tokens of 4 characters.
    seed
        Seed of the faults' draws.
    keep_requests
        How many requests are kept with their bodies; with 0 none is.
    capacity
        Calls that each LLM serves at the same time; further ones wait in their order. None: all at once.
    clock
        For the answers' ``created``; None takes the system's.

    Raises
    ------
    InvalidValueError
        Where a parameter is out of range.
    UnknownLLMError
        Where `faults` names an LLM that is not in the book.
    """
    if chunk_tokens < 1:
        raise InvalidValueError("chunk_tokens", chunk_tokens, ">= 1")
    if capacity is not None and capacity < 1:
        raise InvalidValueError("capacity", capacity, ">= 1")
    board = FaultBoard(llms=book.llms, faults=faults, seed=seed)
    chat = ChatEndpoint(
        book=book,
        faults=board,
        ring=RequestRing(size=keep_requests),
        time_scale=non_negative("time_scale", time_scale),
        chunk_tokens=chunk_tokens,
        capacity=capacity,
        clock=clock,
    )
    control = _Control(chat)
    app = Starlette(
        routes=[
            # An object instead of a function: Starlette hands it the raw ASGI call, which is much faster.
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", control.models),
            Route("/health", control.health),
            Route("/playback/faults", control.faults),
            Route("/playback/faults/{llm:path}", control.put_faults, methods=["POST"]),
            Route("/playback/faults/{llm:path}", control.delete_faults, methods=["DELETE"]),
            Route("/playback/requests", control.requests),
            Route("/playback/counts", control.counts),
        ]
    )
    app.state.chat = chat
    return app


class _Model(msgspec.Struct):
    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "playback"


class _Control:
    """Everything but the chats."""

    def __init__(self, chat: ChatEndpoint) -> None:
        self._chat = chat

    async def models(self, _request: Request) -> Response:
        return _json({"object": "list", "data": [_Model(id=llm) for llm in self._chat.book.llms]})

    async def health(self, _request: Request) -> Response:
        return _json({"status": "ok"})

    async def faults(self, _request: Request) -> Response:
        return _json(self._chat.faults.current())

    async def put_faults(self, request: Request) -> Response:
        try:
            given = _decode_faults(await request.body())
        except msgspec.DecodeError as error:
            return _error(f"This is no fault: {error}. Send one, or a list, each with its kind.", 400)
        return self._put(request.path_params["llm"], given if isinstance(given, list) else [given])

    async def delete_faults(self, request: Request) -> Response:
        return self._put(request.path_params["llm"], [])

    def _put(self, llm: str, faults: Sequence[Fault]) -> Response:
        try:
            self._chat.faults.put(llm, faults)
        except UnknownLLMError as error:
            return _error(str(error), 404)
        return _json(self._chat.faults.current())

    async def requests(self, request: Request) -> Response:
        if not self._chat.ring.size:
            return _error("Requests are not kept. Start the server with keep_requests above 0.", 404)
        limit = request.query_params.get("limit", "1")
        if not (limit.isdecimal() and limit.isascii()):
            return _error("limit must be a number >= 0.", 400)
        return _json(self._chat.ring.newest(int(limit)))

    async def counts(self, _request: Request) -> Response:
        return _json({**self._chat.counts, "by_llm": dict(self._chat.by_llm)})


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def _error(message: str, status: int) -> Response:
    return Response(encode_error(message, status=status), status_code=status, media_type="application/json")
