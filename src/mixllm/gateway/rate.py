"""Requests per minute of one key: a bucket that fills steadily."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from mixllm.interfaces import Clock
from mixllm.registry import SharedLevel

__all__ = ["RateStatus", "RequestRate"]

_MINUTE_S = 60.0
_ROUNDING = 1e-6
"""Of a request: a time is rounded more coarsely than a count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateStatus:
    """What is left of a limit after a request.

    Parameters
    ----------
    admitted
        Whether the request may go on.
    limit, remaining
        Requests a minute, and how many could be sent at once now.
    retry_after_s
        Time until the next request would be admitted; 0 where it would be at once.
    reset_s
        Time until all of `limit` could be sent at once.
    """

    admitted: bool
    limit: int
    remaining: int
    retry_after_s: float
    reset_s: float

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return OpenAI's headers for it."""
        values = {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_s:.3f}s",
        }
        if not self.admitted:
            values["retry-after"] = str(math.ceil(self.retry_after_s))
        return [(name.encode(), value.encode()) for name, value in values.items()]


class RequestRate:
    """A bucket of `limit` requests that fills at `limit` a minute; thread-safe.

    Parameters
    ----------
    limit
        Requests a minute, >= 1.
    clock
        Time.
    level
        When the bucket will be full again, as all processes know it that admit for it; None: this one admits alone.

    Notes
    -----
    Over any time t at most ``limit · (1 + t / 60 s)`` requests are admitted. The bucket is one number, the time at
    which it will be full: it lacks ``(full − now) · limit / 60 s``; each request moves that time by ``60 s / limit``.
    """

    __slots__ = ("_clock", "_full_s", "_level", "_lock", "limit")

    def __init__(self, *, limit: int, clock: Clock, level: SharedLevel | None = None) -> None:
        self.limit = limit
        self._clock = clock
        self._level = level
        self._lock = threading.Lock()
        self._full_s = -math.inf

    def take(self) -> RateStatus:
        """Take one request out of the bucket, if there is one."""
        per_s = self.limit / _MINUTE_S
        with self._lock:
            full_s = self._full_s if self._level is None else self._level.take(self._full_s)
            now_s = self._clock.monotonic_s()
            # Later than that it cannot be: the number is of another boot, or damaged.
            lacks = 0.0 if full_s > now_s + 2 * _MINUTE_S else max(0.0, full_s - now_s) * per_s
            admitted = self.limit - lacks >= 1.0 - _ROUNDING
            if admitted:
                lacks += 1.0
                self._full_s = now_s + lacks / per_s
            if self._level is not None:
                self._level.put(self._full_s if admitted else None)
            tokens = max(0.0, self.limit - lacks)
        return RateStatus(
            admitted=admitted,
            limit=self.limit,
            remaining=int(tokens + _ROUNDING),
            retry_after_s=max(0.0, (1.0 - tokens) / per_s),
            reset_s=(self.limit - tokens) / per_s,
        )
