"""Addresses that a user of this machine can use."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["base_url", "reachable", "root_url"]

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- recognised here, not listened on


def root_url(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a server that listens on `host`.

    Examples
    --------
    >>> root_url("0.0.0.0", 8080), root_url("::1", 80)
    ('http://127.0.0.1:8080', 'http://[::1]:80')
    """
    host = _WILDCARDS.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def base_url(host: str, port: int) -> str:
    """Return the base URL of the API of a server that listens on `host`."""
    return f"{root_url(host, port)}/v1"


def reachable(url: str) -> str:
    """Return `url`, "any address" in it replaced by loopback.

    Examples
    --------
    >>> reachable("http://0.0.0.0:9000/v1"), reachable("http://[::]:9000")
    ('http://127.0.0.1:9000/v1', 'http://[::1]:9000')
    """
    parts = urlsplit(url)
    return root_url(parts.hostname or "", parts.port or 80) + parts.path
