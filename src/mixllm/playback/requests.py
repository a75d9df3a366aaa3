"""The last requests as they arrived, for tests of what passes through a gateway."""

from __future__ import annotations

from collections import deque

from mixllm.errors import InvalidValueError
from mixllm.types import Value

__all__ = ["KeptRequest", "RequestRing"]

_HIDDEN = frozenset({b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"cookie"})


class KeptRequest(Value, frozen=True, kw_only=True):
    """A request as it arrived.

    Parameters
    ----------
    path
        Its path.
    headers
        Names in lower case, and values; those that carry secrets as ``***``.
    body
        Its body, byte for byte; base64 in JSON.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class RequestRing:
    """The newest `size` requests.

    Parameters
    ----------
    size
        How many are kept; with 0 none is.
    """

    def __init__(self, *, size: int) -> None:
        if size < 0:
            raise InvalidValueError("keep_requests", size, ">= 0")
        self.size = size
        self._kept: deque[KeptRequest] = deque(maxlen=size)

    def keep(self, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Keep one request, and drop the oldest where there are too many."""
        if self.size:
            shown = tuple(
                (name.decode("latin-1"), "***" if name in _HIDDEN else value.decode("latin-1"))
                for name, value in headers
            )
            self._kept.append(KeptRequest(path=path, headers=shown, body=body))

    def newest(self, limit: int | None = None) -> list[KeptRequest]:
        """Return the kept requests, newest first, `limit` at most."""
        return list(self._kept)[::-1][:limit]
