"""What went wrong on the wire, in words for the user: no URL with its secrets, no key, no prompt."""

from __future__ import annotations

from mixllm.errors import MissingExtraError, UpstreamError, UpstreamProtocolError, UpstreamTimeoutError
from mixllm.types import LLMSpec

try:
    import aiohttp
except ImportError as error:  # pragma: no cover - covered in a process of its own
    raise MissingExtraError("The HTTP client", "gateway") from error

__all__ = ["timed_out", "translated"]


def timed_out(spec: LLMSpec, error: TimeoutError, connect_timeout_s: float) -> UpstreamTimeoutError:
    """Return the error of a call that took too long."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamTimeoutError(
            spec.name,
            f"no connection to its endpoint within {min(connect_timeout_s, spec.timeout_s):g} s. "
            "Check api_base, the network, and that the endpoint is up.",
        )
    return UpstreamTimeoutError(
        spec.name, f"its endpoint took longer than timeout_s = {spec.timeout_s:g}. Raise timeout_s, or call it less."
    )


def translated(spec: LLMSpec, error: aiohttp.ClientError | OSError | ValueError) -> UpstreamError:
    """Return the error of a call whose connection, request or answer failed."""
    name = spec.name
    if isinstance(error, aiohttp.ClientPayloadError):
        return UpstreamProtocolError(name, "its endpoint broke the answer off. Try again, or another LLM.")
    if isinstance(error, aiohttp.ClientResponseError):
        return UpstreamProtocolError(name, "its endpoint does not answer in HTTP. Check api_base, port included.")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UpstreamError(name, f"the host {error.host!r} of its api_base is not known. Check api_base.")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return UpstreamError(name, "no trusted TLS connection to its endpoint. Check api_base and the certificate.")
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or type(error.os_error).__name__
        return UpstreamError(
            name,
            f"no connection to {error.host}:{error.port} ({reason}). Check api_base, and that the endpoint is up.",
        )
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return UpstreamError(name, "its api_base is not a usable URL. Write it as http(s)://host[:port]/v1.")
    return UpstreamError(name, "its endpoint closed the connection without an answer. Try again, or another LLM.")
