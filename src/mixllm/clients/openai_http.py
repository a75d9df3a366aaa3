"""The client of the request path: OpenAI-compatible endpoints over aiohttp."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from mixllm.clients.bodies import check_reply, read_bounded
from mixllm.clients.failures import timed_out, translated
from mixllm.clients.keys import key_for
from mixllm.clients.open_stream import OpenStream
from mixllm.clients.retry_after import retry_after_s
from mixllm.clients.sse import DEFAULT_MAX_EVENT_BYTES
from mixllm.clock import SystemClock
from mixllm.errors import (
    InvalidValueError,
    MissingExtraError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamStatusError,
)
from mixllm.interfaces import Clock, UpstreamReply
from mixllm.types import LLMSpec, Secret
from mixllm.units import positive

try:
    import aiohttp
    from yarl import URL
except ImportError as error:  # pragma: no cover - covered in a process of its own
    raise MissingExtraError("The HTTP client", "gateway") from error

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from mixllm.interfaces import UpstreamStream

__all__ = ["OpenAIClient"]

_MIB = 1024 * 1024
_MAX_ERROR_BODY_BYTES = 64 * 1024
_KEEP_ALIVE_S = 15.0
_DNS_CACHE_S = 60
_LARGE_BODY_BYTES = _MIB  # aiohttp wants a reader for more than this, and warns otherwise
_OK = 200


class OpenAIClient:
    """Calls to OpenAI-compatible endpoints, over one pool of kept connections.

    Bodies go out and come back byte for byte. Redirects are not followed, as they could carry the key elsewhere;
    cookies and proxy variables are ignored.

    Time limits: ``spec.connect_timeout_s`` for the connection. A whole answer has to be there after ``spec.timeout_s``.
    For a stream ``spec.timeout_s`` limits each silence instead of the whole: the time until its first byte, and the
    time between any two reads after that, since a long answer that keeps coming is a healthy one.

    Parameters
    ----------
    environ
        Where ``spec.api_key_env`` is looked up, at each call; None takes the process's environment.
    secrets
        Literal keys by the LLM's name; they go before ``spec.api_key_env``.
    connect_timeout_s
        Time limit for opening a connection to an LLM without one of its own.
    max_reply_bytes
        Longest whole answer; a longer one is an `UpstreamProtocolError`.
    max_event_bytes
        Longest event of a stream; a longer one is an `UpstreamProtocolError`.
    max_connections
        Open connections to all endpoints together; further calls wait for one.
    extra_headers
        Asked at each call for headers to send along, such as a trace's; None: there are none.
    clock
        For a ``Retry-After`` that is a date, where the answer has no ``Date`` of its own; None takes the system's.

    Examples
    --------
    >>> OpenAIClient(environ={}, secrets={"gpt": Secret("sk-1")})
    OpenAIClient(connect_timeout_s=5.0, max_connections=2048)
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        secrets: Mapping[str, Secret] | None = None,
        connect_timeout_s: float = 5.0,
        max_reply_bytes: int = 32 * _MIB,
        max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES,
        max_connections: int = 2048,
        extra_headers: Callable[[], Mapping[str, str]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        for name, count in (
            ("max_reply_bytes", max_reply_bytes),
            ("max_event_bytes", max_event_bytes),
            ("max_connections", max_connections),
        ):
            if count < 1:
                raise InvalidValueError(name, count, ">= 1")
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.secrets: Mapping[str, Secret] = MappingProxyType({}) if secrets is None else secrets
        self.connect_timeout_s = positive("connect_timeout_s", connect_timeout_s)
        self.max_reply_bytes = max_reply_bytes
        self.max_event_bytes = max_event_bytes
        self.max_connections = max_connections
        self.clock: Clock = SystemClock() if clock is None else clock
        self.extra_headers = extra_headers
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"OpenAIClient(connect_timeout_s={self.connect_timeout_s!r}, max_connections={self.max_connections!r})"

    async def complete(self, spec: LLMSpec, *, path: str, body: bytes) -> UpstreamReply:
        """Post `body` to ``{spec.api_base}{path}`` and return the whole answer.

        Raises
        ------
        UpstreamTimeoutError
            No connection after `connect_timeout_s`, or no whole answer after ``spec.timeout_s``.
        UpstreamStatusError
            An answer with an error status; its body is kept up to 64 KiB.
        UpstreamProtocolError
            An answer that is cut off, too long, encoded, not a JSON object, or nothing but an error.
        UpstreamError
            No connection, no key, no ``api_base``, or the client is closed.
        """
        timeout = aiohttp.ClientTimeout(total=spec.timeout_s, sock_connect=self._connect_timeout_s(spec))
        try:
            response = await self._post(spec, path, body, timeout, "application/json")
            try:
                content = await read_bounded(response, self.max_reply_bytes)
            finally:
                response.release()
        except TimeoutError as error:
            raise timed_out(spec, error, self._connect_timeout_s(spec)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise translated(spec, error) from error
        if content is None:
            raise UpstreamProtocolError(
                spec.name, f"its answer is longer than max_reply_bytes = {self.max_reply_bytes}. Raise that limit."
            )
        check_reply(spec, content)
        return UpstreamReply(body=content, content_type=response.headers.get("Content-Type", "application/json"))

    def stream(self, spec: LLMSpec, *, path: str, body: bytes) -> AbstractAsyncContextManager[UpstreamStream]:
        """Post `body` and open the stream of the answer; leaving the context closes it, which cancels the call.

        Raises
        ------
        UpstreamError
            On entering, as `complete` does, and `UpstreamProtocolError` where the answer is no ``text/event-stream``.
            While reading, `UpstreamTimeoutError` after a silence of ``spec.timeout_s``, and `UpstreamProtocolError`
            where an event is no JSON object or reports an error, or where the stream ends before ``[DONE]``.
        """
        return OpenStream(
            spec=spec,
            open_response=lambda: self._open(spec, path, body),
            connect_timeout_s=self._connect_timeout_s(spec),
            max_event_bytes=self.max_event_bytes,
        )

    async def close(self) -> None:
        """Close every connection; further calls raise `UpstreamError`."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _open(self, spec: LLMSpec, path: str, body: bytes) -> aiohttp.ClientResponse:
        timeout = aiohttp.ClientTimeout(
            total=None,
            connect=spec.timeout_s,
            sock_connect=self._connect_timeout_s(spec),
            sock_read=spec.timeout_s,
        )
        try:
            return await self._post(spec, path, body, timeout, "text/event-stream")
        except TimeoutError as error:
            raise timed_out(spec, error, self._connect_timeout_s(spec)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise translated(spec, error) from error

    async def _post(
        self, spec: LLMSpec, path: str, body: bytes, timeout: aiohttp.ClientTimeout, accept: str
    ) -> aiohttp.ClientResponse:
        if spec.api_base is None:
            raise UpstreamError(spec.name, "it has no api_base. Give it the base URL of its endpoint, /v1 included.")
        headers = {"Accept": accept}
        if self.extra_headers is not None:
            headers.update(self.extra_headers())
        key = key_for(spec, secrets=self.secrets, environ=self.environ)
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        response = await self._open_session(spec).post(
            _url(spec.api_base, path),
            data=body if len(body) <= _LARGE_BODY_BYTES else io.BytesIO(body),
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
        )
        if response.status != _OK or response.headers.get("Content-Encoding", "identity") != "identity":
            await self._refuse(spec, response)
        return response

    async def _refuse(self, spec: LLMSpec, response: aiohttp.ClientResponse) -> None:
        """Raise the error of an answer that cannot be used."""
        status, headers = response.status, response.headers
        try:
            if status == _OK:
                encoding = headers["Content-Encoding"]
                raise UpstreamProtocolError(
                    spec.name, f"its answer is compressed ({encoding[:40]!r}) unasked. Switch that off."
                )
            if 200 < status < 300:
                raise UpstreamProtocolError(
                    spec.name, f"its endpoint answered with status {status}, not 200. Check api_base."
                )
            body = await read_bounded(response, _MAX_ERROR_BODY_BYTES, cut=True) or b""
        except (aiohttp.ClientError, OSError):
            body = b""  # the status is known, and says more than the way its body got lost
        finally:
            # Also where the rest of a long body is still to come: that connection is not worth keeping.
            response.release()
        raise UpstreamStatusError(spec.name, status, body, retry_after_s(headers, now_s=self.clock.time_s()))

    def _connect_timeout_s(self, spec: LLMSpec) -> float:
        return self.connect_timeout_s if spec.connect_timeout_s is None else spec.connect_timeout_s

    def _open_session(self, spec: LLMSpec) -> aiohttp.ClientSession:
        session = self._session
        if session is None:
            if self._closed:
                raise UpstreamError(spec.name, "the client is closed. Make a new one.")
            session = self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self.max_connections,
                    keepalive_timeout=_KEEP_ALIVE_S,
                    ttl_dns_cache=_DNS_CACHE_S,
                    loop=asyncio.get_running_loop(),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "mixllm"},
                auto_decompress=False,
                trust_env=False,
            )
        return session


@lru_cache(maxsize=1024)
def _url(api_base: str, path: str) -> URL:
    return URL(api_base.rstrip("/") + path)
