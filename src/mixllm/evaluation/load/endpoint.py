"""An LLM's endpoint: servers, a queue with an end, rate limits, times of trouble."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from mixllm.errors import InvalidValueError
from mixllm.types import Value
from mixllm.units import positive

__all__ = ["Endpoint", "EndpointSpec", "Outage", "SlowTime"]

_MINUTE_S = 60.0


class SlowTime(Value, frozen=True, kw_only=True):
    """A time in which an LLM works slower by a factor; calls under way are slowed down too."""

    llm: str
    from_s: float
    until_s: float
    factor: float

    def __post_init__(self) -> None:
        _check_time(self.from_s, self.until_s)
        positive("factor", self.factor)


class Outage(Value, frozen=True, kw_only=True):
    """A time in which an LLM's endpoint refuses new calls with an error; those under way go on."""

    llm: str
    from_s: float
    until_s: float

    def __post_init__(self) -> None:
        _check_time(self.from_s, self.until_s)


class EndpointSpec(Value, frozen=True, kw_only=True):
    """What an endpoint can take.

    Parameters
    ----------
    servers
        Calls served at the same time, >= 1; None: any number, so that nobody waits.
    max_queue
        Calls that may wait; further ones are refused. None: any number.
    requests_per_minute, tokens_per_minute
        Rate limits over the last sixty seconds, prompt and answer tokens together; None: no limit.
    """

    servers: int | None = 1
    max_queue: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("servers", 1), ("max_queue", 0), ("requests_per_minute", 1), ("tokens_per_minute", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InvalidValueError(name, value, f">= {least}")


class Refusal(Value, frozen=True, kw_only=True):
    """Why a call was not taken: status 429 or 503, and the seconds after which to come again, if it says."""

    status: int
    retry_after_s: float | None = None


class Endpoint:
    """One LLM's endpoint in simulated time. Calls are numbers; work is seconds at full speed.

    Parameters
    ----------
    spec
        What it can take.
    slow, outages
        Its times of trouble, in any order, slow ones not overlapping.

    Examples
    --------
    >>> endpoint = Endpoint(EndpointSpec(servers=1, max_queue=1))
    >>> [endpoint.refusal(0.0, tokens=10), endpoint.take(7, work_s=2.0, tokens=10, now_s=0.0)]
    [None, 2.0]
    >>> endpoint.take(8, work_s=2.0, tokens=10, now_s=0.5), endpoint.waiting
    (None, 1)
    >>> endpoint.refusal(1.0, tokens=10)
    Refusal(status=429, retry_after_s=None)
    >>> endpoint.leave(now_s=2.0)
    (8, 4.0)
    """

    def __init__(self, spec: EndpointSpec, *, slow: Sequence[SlowTime] = (), outages: Sequence[Outage] = ()) -> None:
        self.spec = spec
        self.busy = 0
        self._queue: deque[tuple[int, float]] = deque()
        self._left: set[int] = set()
        self._slow = sorted((time.from_s, time.until_s, time.factor) for time in slow)
        for (_, until_s, _), (from_s, _, _) in zip(self._slow, self._slow[1:], strict=False):
            if from_s < until_s:
                raise InvalidValueError("slow", (from_s, until_s), "times that do not overlap")
        self._outages = [(time.from_s, time.until_s) for time in outages]
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_tokens = 0

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return len(self._queue) - len(self._left)

    def refusal(self, now_s: float, *, tokens: int) -> Refusal | None:
        """Return why a call that comes now is not taken; None where it is."""
        if any(from_s <= now_s < until_s for from_s, until_s in self._outages):
            return Refusal(status=503)
        until_s = self._limited_until_s(now_s, tokens)
        if until_s is not None:
            return Refusal(status=429, retry_after_s=until_s - now_s)
        full = self.spec.servers is not None and self.busy >= self.spec.servers
        if full and self.spec.max_queue is not None and self.waiting >= self.spec.max_queue:
            return Refusal(status=429)
        return None

    def take(self, call: int, *, work_s: float, tokens: int, now_s: float) -> float | None:
        """Take a call that `refusal` lets in; return when it ends, or None where it has to wait first."""
        if self.spec.requests_per_minute is not None or self.spec.tokens_per_minute is not None:
            self._recent.append((now_s, tokens))
            self._recent_tokens += tokens
        if self.spec.servers is None or self.busy < self.spec.servers:
            self.busy += 1
            return self.end_s(now_s, work_s)
        self._queue.append((call, work_s))
        return None

    def leave(self, *, now_s: float) -> tuple[int, float] | None:
        """End a call that was served; return the next one that is, and when it ends, or None where nobody waits."""
        self.busy -= 1
        while self._queue:
            call, work_s = self._queue.popleft()
            if call in self._left:
                self._left.remove(call)
                continue
            self.busy += 1
            return call, self.end_s(now_s, work_s)
        return None

    def give_up(self, call: int) -> None:
        """Let a waiting call go."""
        self._left.add(call)

    def end_s(self, start_s: float, work_s: float) -> float:
        """Return when work that starts now is done, at the endpoint's speeds from then on."""
        now_s, left_s = start_s, work_s
        for from_s, until_s, factor in self._slow:
            if until_s <= now_s:
                continue
            if now_s < from_s:
                if now_s + left_s <= from_s:
                    return now_s + left_s
                left_s -= from_s - now_s
                now_s = from_s
            if now_s + left_s * factor <= until_s:
                return now_s + left_s * factor
            left_s -= (until_s - now_s) / factor
            now_s = until_s
        return now_s + left_s

    def _limited_until_s(self, now_s: float, tokens: int) -> float | None:
        calls, total = self.spec.requests_per_minute, self.spec.tokens_per_minute
        if calls is None and total is None:
            return None
        while self._recent and self._recent[0][0] <= now_s - _MINUTE_S:
            self._recent_tokens -= self._recent.popleft()[1]
        until_s = None
        if calls is not None and len(self._recent) >= calls:
            until_s = self._recent[len(self._recent) - calls][0] + _MINUTE_S
        if total is not None and self._recent and self._recent_tokens + tokens > total:
            over = self._recent_tokens + tokens - total
            freed = np.cumsum([used for _, used in self._recent])
            enough = min(int(np.searchsorted(freed, over)), len(self._recent) - 1)
            until_s = max(until_s or 0.0, self._recent[enough][0] + _MINUTE_S)
        return until_s


def _check_time(from_s: float, until_s: float) -> None:
    if not 0 <= from_s < until_s:
        raise InvalidValueError("until_s", until_s, f"above from_s ({from_s}), which is >= 0")
