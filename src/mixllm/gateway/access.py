"""Who may ask: holders of an API key, or, where there is none, this machine under its own name."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mixllm.config.key_names import key_name
from mixllm.gateway.answers import problem
from mixllm.types import Secret

__all__ = ["KeyGuard", "is_loopback", "key_id_of", "key_name"]

_HAS_PORT = re.compile(r":\d*$")
_OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
_ANTHROPIC_PATH = "/v1/messages"
_KEY_ID = "mixllm_key_id"


class KeyGuard:
    """ASGI middleware that lets only requests with a valid ``Authorization: Bearer`` key through.

    Health checks need no key. Where there are no keys, the ``Host`` must be a loopback name: a web page that points a
    name of its own at 127.0.0.1 (DNS rebinding) is turned away.

    Parameters
    ----------
    app
        What it guards; it finds the name of the request's key with `key_id_of`.
    keys
        The valid keys, compared in constant time; empty: none is asked for.
    """

    def __init__(self, *, app: ASGIApp, keys: Sequence[Secret]) -> None:
        self.app = app
        self._digests = [_digest(key.reveal()) for key in keys]
        self._names = {digest: key_name(key) for digest, key in zip(self._digests, keys, strict=True)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            key_id, refusal = self._admitted(Headers(scope=scope), scope["path"])
            scope.setdefault("state", {})[_KEY_ID] = key_id
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _admitted(self, headers: Headers, path: str) -> tuple[str, Response | None]:
        """Return the name of the key that asks, and the refusal where it may not."""
        if not self._digests:
            host = headers.get("host", "")
            if is_loopback(host.rpartition(":")[0] if _HAS_PORT.search(host) else host):
                return "", None
            return "", problem(
                403,
                f"Without gateway.api_keys only requests to this machine's loopback are answered, not to {host[:80]!r}."
                " Use http://127.0.0.1, or configure a key.",
                code="host_not_allowed",
            )
        digest = _digest(_presented(headers, path))
        if self._valid(digest):
            return self._names[digest], None
        return "", problem(
            401,
            "The API key is missing or wrong. Send 'Authorization: Bearer <key>' with a key of gateway.api_keys.",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )

    def _valid(self, digest: bytes) -> bool:
        # Digests have one length, and every key is compared, so that time tells neither which key nor how much of it.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def key_id_of(request: Request) -> str:
    """Return the name of the key that `request` was admitted with; empty where none was asked for."""
    return str(getattr(request.state, _KEY_ID, ""))


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address, is this machine's loopback.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("localhost"), is_loopback("evil.example")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _presented(headers: Headers, path: str) -> str:
    """Return the key that a request presents; Anthropic's clients have a header of their own for it."""
    if path.startswith(_ANTHROPIC_PATH) and "x-api-key" in headers:
        return headers["x-api-key"].strip()
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
