"""One line a request in the log, and one span in its trace; neither holds a prompt, an answer or a key."""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mixllm.gateway.access import KEY_IN_STATE
from mixllm.gateway.keys import NOBODY
from mixllm.gateway.notes import NOTES, RequestNotes
from mixllm.gateway.tracing import Tracing

__all__ = ["RequestLog"]

_LOG = logging.getLogger("mixllm.access")
_MAX_PATH_CHARS = 300
_ABORTED = 499
"""Status of a request that ended without an answer."""


class RequestLog:
    """ASGI middleware around everything else.

    Parameters
    ----------
    app
        What answers.
    enabled
        Whether requests are logged; it may change at any time.
    tracing
        Where spans go; None: there are none.
    """

    def __init__(self, *, app: ASGIApp, enabled: bool, tracing: Tracing | None = None) -> None:
        self.app = app
        self.enabled = enabled
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and tell what came of it."""
        if scope["type"] != "http" or not (self.enabled or self.tracing is not None):
            await self.app(scope, receive, send)
            return
        started_s = time.perf_counter()
        status = _ABORTED
        notes = RequestNotes()
        token = NOTES.set(notes)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self.tracing is None:
                await self.app(scope, receive, watched)
            else:
                with self.tracing.request(scope) as span:
                    try:
                        await self.app(scope, receive, watched)
                    finally:
                        self.tracing.finish(span, status=status, notes=notes)
        finally:
            NOTES.reset(token)
            if self.enabled:
                _tell(scope, status, time.perf_counter() - started_s, notes)


def _tell(scope: Scope, status: int, duration_s: float, notes: RequestNotes) -> None:
    key = scope.get("state", {}).get(KEY_IN_STATE, NOBODY)
    raw = scope.get("raw_path") or scope["path"].encode("ascii", "replace")
    facts: dict[str, Any] = {
        "method": scope["method"],
        "path": raw.decode("ascii", "replace")[:_MAX_PATH_CHARS],
        "status": status,
        "ms": round(duration_s * 1000, 3),
        "decision_id": None if notes.decision is None else notes.decision.decision_id,
        "llm": notes.llm or None,
        "key": key.name or None,
        "calls": notes.calls or None,
        "tokens_in": notes.tokens_in,
        "tokens_out": notes.tokens_out,
        "cost_usd": notes.cost_usd,
    }
    facts = {name: value for name, value in facts.items() if value is not None}
    text = " ".join(f"{name}={value}" for name, value in facts.items() if name not in {"method", "path", "status"})
    _LOG.info("%s %s %s %s", facts["method"], facts["path"], status, text, extra={"request": facts})
