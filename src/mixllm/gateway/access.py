"""Who may ask what: holders of an API key, or, where there is none, this machine under its own name."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Mapping, Sized
from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mixllm.config.key_names import key_name
from mixllm.errors import ConfigError
from mixllm.gateway.answers import problem
from mixllm.gateway.audit import Audit
from mixllm.gateway.headers import header_of
from mixllm.gateway.keys import NOBODY, AccessKey, KeyRing
from mixllm.gateway.scopes import OPEN_PATHS, scopes_for

__all__ = [
    "KEY_IN_STATE",
    "KeyGuard",
    "audit_details",
    "check_exposure",
    "is_loopback",
    "key_id_of",
    "key_name",
    "key_of",
]

_HAS_PORT = re.compile(r":\d*$")
KEY_IN_STATE = "mixllm_key"
"""Where the state of a request has its key."""

_DETAILS = "mixllm_audit_details"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_ANTHROPIC_PATH = "/v1/messages"
_MAX_URL_BYTES = 8 * 1024
_MAX_HEADER_BYTES = 32 * 1024


class KeyGuard:
    """ASGI middleware that lets only requests through whose ``Authorization: Bearer`` key allows them.

    Health checks need no key. Where there are no keys, the ``Host`` must be a loopback name: a web page that points a
    name of its own at 127.0.0.1 (DNS rebinding) is turned away.

    Parameters
    ----------
    app
        What it guards; it finds the request's key with `key_of`.
    ring
        The valid keys; empty: none is asked for. It may be replaced at any time: requests under way go on.
    audit
        Takes note of every request that would change the gateway, admitted or not.
    """

    def __init__(self, *, app: ASGIApp, ring: KeyRing, audit: Audit) -> None:
        self.app = app
        self.ring = ring
        self.audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        scopes = scopes_for(scope["method"], scope["path"])
        key, refusal = self._admitted(scope)
        state = scope.setdefault("state", {})
        state[KEY_IN_STATE] = key
        refusal = refusal or _too_large(scope) or _out_of_scope(key, scopes)
        if scopes == ("admin",) and scope["method"] not in _READS:
            state[_DETAILS] = {}
            send = self._audited(scope, send, key)
        if refusal is None and key.rate is not None:
            status = key.rate.take()
            send = _with_headers(send, status.headers())
            if not status.admitted:
                refusal = _too_many(key, status.retry_after_s)
        await (self.app if refusal is None else refusal)(scope, receive, send)

    def _admitted(self, scope: Scope) -> tuple[AccessKey, Response | None]:
        """Return the key that asks, and the refusal where it may not."""
        if not len(self.ring):
            host = header_of(scope, b"host") or ""
            if is_loopback(host.rpartition(":")[0] if _HAS_PORT.search(host) else host):
                return NOBODY, None
            return NOBODY, problem(
                403,
                f"Without gateway.api_keys only requests to this machine's loopback are answered, not to {host[:80]!r}."
                " Use http://127.0.0.1, or configure a key.",
                code="host_not_allowed",
            )
        key = self.ring.find(_presented(scope))
        if key is not None:
            return key, None
        return NOBODY, problem(
            401,
            "The API key is missing, wrong or expired. Send 'Authorization: Bearer <key>' with a key of "
            "gateway.api_keys or gateway.keys.",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )

    def _audited(self, scope: Scope, send: Send, key: AccessKey) -> Send:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Before the answer: what a client knows to be done is on record.
                await asyncio.to_thread(
                    self.audit.write,
                    action=f"{scope['method']} {scope['path']}",
                    status=message["status"],
                    key_id=key.key_id,
                    key_name=key.name,
                    client=(scope.get("client") or ("",))[0],
                    details=scope["state"][_DETAILS],
                )
            await send(message)

        return noted


def key_of(request: Request) -> AccessKey:
    """Return the key that `request` was admitted with; `NOBODY` where none was asked for."""
    key = request.scope.get("state", {}).get(KEY_IN_STATE, NOBODY)
    assert isinstance(key, AccessKey)
    return key


def key_id_of(request: Request) -> str:
    """Return the name of the key that `request` was admitted with; empty where none was asked for."""
    return key_of(request).key_id


def audit_details(request: Request, **details: Any) -> None:
    """Have the audit say what `request` changes; no secret may be in it."""
    kept: dict[str, Any] = request.scope.get("state", {}).get(_DETAILS, {})
    kept.update(details)


@lru_cache(maxsize=64)
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


def check_exposure(host: str, keys: Sized) -> None:
    """Raise `ConfigError` where the gateway would listen beyond loopback without a key."""
    if len(keys):
        return
    if not is_loopback(host):
        raise ConfigError(
            f"gateway.host: {host!r} is reachable from other machines, and no key is configured. Set gateway.api_keys "
            "or gateway.keys, or listen on 127.0.0.1."
        )


def _too_large(scope: Mapping[str, Any]) -> Response | None:
    if len(scope["raw_path"] or b"") + len(scope["query_string"]) > _MAX_URL_BYTES:
        return problem(414, f"The URL is longer than {_MAX_URL_BYTES} bytes. Shorten it.", code="url_too_long")
    if sum([len(name) + len(value) for name, value in scope["headers"]]) > _MAX_HEADER_BYTES:
        return problem(
            431, f"The headers are longer than {_MAX_HEADER_BYTES} bytes. Send fewer.", code="headers_too_large"
        )
    return None


def _presented(scope: Scope) -> str:
    """Return the key that a request presents; Anthropic's clients have a header of their own for it."""
    if scope["path"].startswith(_ANTHROPIC_PATH) and (key := header_of(scope, b"x-api-key")) is not None:
        return key.strip()
    scheme, _, key = (header_of(scope, b"authorization") or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _out_of_scope(key: AccessKey, scopes: tuple[Any, ...]) -> Response | None:
    if key.may(scopes):
        return None
    return problem(
        403,
        f"This API key does not open this: it needs the scope {' or '.join(scopes)}, and has "
        f"{', '.join(sorted(key.scopes))}. Use another key, or extend its entry in gateway.keys.",
        code="insufficient_scope",
    )


def _too_many(key: AccessKey, retry_after_s: float) -> Response:
    assert key.rate is not None
    return problem(
        429,
        f"This API key may send {key.rate.limit} requests a minute. Wait {retry_after_s:.1f} s, or raise its "
        "requests_per_minute.",
        code="rate_limit_exceeded",
    )


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def extended(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return extended
