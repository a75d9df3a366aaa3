"""The door: how many requests to LLMs are let in at the same time, and how large they may be together."""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from mixllm.config import GatewayConfig
from mixllm.gateway.answers import problem
from mixllm.gateway.call_metrics import CallMetrics

__all__ = ["Door"]

_RETRY_AFTER_S = 1


class Door:
    """ASGI middleware that answers 429 where as many requests are under way as the gateway can bear.

    A request counts until the last byte of its answer has gone. Its body counts with the length that it announces; one
    that announces none counts as the longest that is allowed.

    Parameters
    ----------
    app
        What is behind it.
    paths
        The paths that call LLMs; all others, such as health checks and feedback, are always let in.
    config
        Limits.
    metrics
        Counts those that are refused.
    """

    def __init__(self, *, app: ASGIApp, paths: Collection[str], config: GatewayConfig, metrics: CallMetrics) -> None:
        self.app = app
        self.config = config
        self._paths = frozenset(paths)
        self._metrics = metrics
        self.under_way = 0
        """Requests under way."""
        self.bytes_under_way = 0
        """The size of their bodies."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or answer 429."""
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self.app(scope, receive, send)
            return
        size = self._announced(scope)
        full = self._full(size)
        if full is not None:
            self._metrics.observe_shed(full)
            refusal = problem(
                429,
                f"The gateway has as many requests under way as it can bear (gateway.{full}). Try again in a moment.",
                code="overloaded",
                headers={"retry-after": str(_RETRY_AFTER_S)},
            )
            await refusal(scope, receive, send)
            return
        self.under_way += 1
        self.bytes_under_way += size
        try:
            await self.app(scope, receive, send)
        finally:
            self.under_way -= 1
            self.bytes_under_way -= size

    def _full(self, size: int) -> str | None:
        """Return the setting that does not let one more request of that size in; None where it may come."""
        if self.under_way >= self.config.max_in_flight:
            return "max_in_flight"
        return "max_in_flight_bytes" if self.bytes_under_way + size > self.config.max_in_flight_bytes else None

    def _announced(self, scope: Scope) -> int:
        longest = self.config.max_body_bytes
        for name, value in scope["headers"]:
            if name == b"content-length":
                # What announces more is refused by its reader, before it is read.
                return min(int(value), longest) if value.isdigit() else longest
        return longest
