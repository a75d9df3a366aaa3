"""API keys: asked for on every path but the health checks, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from mixllm.gateway.answers import problem
from mixllm.types import Secret

__all__ = ["KeyGuard"]

_OPEN_PATHS = frozenset({"/health/live", "/health/ready"})


class KeyGuard:
    """ASGI middleware that lets only requests with a valid ``Authorization: Bearer`` key through.

    Parameters
    ----------
    app
        What it guards.
    keys
        The valid keys; empty: every request is let through.
    """

    def __init__(self, *, app: ASGIApp, keys: Sequence[Secret]) -> None:
        self.app = app
        self._digests = [_digest(key.reveal()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if self._digests and scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not self._valid(key.strip()):
                refusal = problem(
                    401,
                    "The API key is missing or wrong. Send 'Authorization: Bearer <key>' with a key of "
                    "gateway.api_keys.",
                    code="invalid_api_key",
                    headers={"www-authenticate": "Bearer"},
                )
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _valid(self, key: str) -> bool:
        # Digests have one length, and every key is compared, so that time tells neither which key nor how much of it.
        digest = _digest(key)
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
