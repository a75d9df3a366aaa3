"""The straight way to endpoints whose path has no parameters, ahead of Starlette's layers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

__all__ = ["Direct", "Handler"]

Handler = Callable[[Request], Awaitable[Response]]


class Direct:
    """ASGI application that calls a handler at once where it can tell which, and leaves all else to Starlette.

    Starlette looks through the routes one by one, and sends every message of an answer through three layers that
    watch for errors; for a chat that is a good part of the time that the gateway adds. What comes of a request is the
    same: an error of `refusals` is answered, any other with a 500 and passed on to the server, which logs it.

    Parameters
    ----------
    app
        Takes what is not in the table: paths with parameters, other methods, what does not exist, the lifespan.
    handlers
        By method and path.
    refusals
        Errors that have an answer of their own.
    answer_error, answer_bug
        Give the answers to errors.
    """

    def __init__(
        self,
        *,
        app: Starlette,
        handlers: Mapping[tuple[str, str], Handler],
        refusals: tuple[type[Exception], ...],
        answer_error: Callable[[Request, Exception], Awaitable[Response]],
        answer_bug: Callable[[], Response],
    ) -> None:
        self.app = app
        self._handlers = handlers
        self._refusals = refusals
        self._answer_error = answer_error
        self._answer_bug = answer_bug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or leave it to Starlette."""
        handler = self._handlers.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if handler is None:
            await self.app(scope, receive, send)
            return
        scope["app"] = self.app
        request = Request(scope, receive, send)
        try:
            response = await handler(request)
        except self._refusals as error:
            response = await self._answer_error(request, error)
        except Exception:
            await self._answer_bug()(scope, receive, send)
            raise
        await response(scope, receive, send)
