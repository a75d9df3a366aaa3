"""Endpoints that are answered ahead of Starlette's layers behave as behind them."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from mixllm.gateway.direct import Direct


async def _greet(request: Request) -> Response:
    return PlainTextResponse(f"hello from {request.app.state.name}")


async def _refuse(request: Request) -> Response:
    raise LookupError(request.url.path)


async def _fail(request: Request) -> Response:
    raise ZeroDivisionError(request.url.path)


async def _behind(request: Request) -> Response:
    return PlainTextResponse(f"behind: {request.path_params['name']}")


async def _told(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error} for {request.app.state.name}", 418)


def direct() -> Direct:
    app = Starlette(routes=[Route("/one/{name}", _behind, methods=["GET"])])
    app.state.name = "the app"
    return Direct(
        app=app,
        handlers={("GET", "/greet"): _greet, ("GET", "/refuse"): _refuse, ("GET", "/fail"): _fail},
        refusals=(LookupError,),
        answer_error=_told,
        answer_bug=lambda: PlainTextResponse("our fault", 500),
    )


async def asked(path: str, method: str = "GET", *, sent: list[Message] | None = None) -> tuple[int, bytes]:
    sent = [] if sent is None else sent
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "root_path": "",
        "server": ("h", 80),
        "scheme": "http",
    }

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await direct()(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_what_is_in_the_table_is_answered() -> None:
    assert await asked("/greet") == (200, b"hello from the app")


async def test_what_is_not_is_left_to_starlette() -> None:
    assert await asked("/one/x") == (200, b"behind: x")
    assert (await asked("/two"))[0] == 404
    assert (await asked("/one/x", "POST"))[0] == 405


async def test_a_refusal_has_its_answer() -> None:
    assert await asked("/refuse") == (418, b"/refuse for the app")


async def test_a_bug_is_answered_without_a_word_of_the_inside_and_told_to_the_server() -> None:
    sent: list[Message] = []
    with pytest.raises(ZeroDivisionError):
        await asked("/fail", sent=sent)
    assert (sent[0]["status"], sent[1]["body"]) == (500, b"our fault")
