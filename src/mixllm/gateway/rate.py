"""Requests per minute of one key: a bucket that fills steadily."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from mixllm.interfaces import Clock

__all__ = ["RateStatus", "RequestRate"]

_MINUTE_S = 60.0


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

    Notes
    -----
    Over any time t at most ``limit · (1 + t / 60 s)`` requests are admitted.
    """

    __slots__ = ("_at_s", "_clock", "_lock", "_tokens", "limit")

    def __init__(self, *, limit: int, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = float(limit)
        self._at_s = clock.monotonic_s()

    def take(self) -> RateStatus:
        """Take one request out of the bucket, if there is one."""
        per_s = self.limit / _MINUTE_S
        with self._lock:
            now_s = self._clock.monotonic_s()
            self._tokens = min(float(self.limit), self._tokens + max(0.0, now_s - self._at_s) * per_s)
            self._at_s = now_s
            admitted = self._tokens >= 1.0
            if admitted:
                self._tokens -= 1.0
            tokens = self._tokens
        return RateStatus(
            admitted=admitted,
            limit=self.limit,
            remaining=int(tokens),
            retry_after_s=max(0.0, (1.0 - tokens) / per_s),
            reset_s=(self.limit - tokens) / per_s,
        )
