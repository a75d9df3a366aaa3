"""The circuit breaker of one LLM: a state machine on times that it is told."""

from __future__ import annotations

from enum import StrEnum

from mixllm.errors import InvalidValueError
from mixllm.types import Value
from mixllm.units import positive

__all__ = ["Breaker", "BreakerRules", "BreakerState", "BreakerStatus"]

_PROBE_FORGOTTEN_S = 600.0
"""A probe without a result for this long is given up, so that a caller who never reports cannot shut an LLM out."""


class BreakerState(StrEnum):
    """Whether an LLM is called as usual, not at all, or by one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerRules(Value, frozen=True, kw_only=True):
    """When a breaker opens, and for how long.

    Parameters
    ----------
    failures
        It opens after so many failures in a row,
    failure_share, min_calls, window_s
        or where this share, in (0, 1], of at least so many calls failed. The calls of the current and of the last
        window of `window_s` count.
    open_s, max_open_s
        How long it stays open at first; doubled after each probe that fails, up to the second.
    """

    failures: int = 5
    failure_share: float = 0.5
    min_calls: int = 20
    window_s: float = 30.0
    open_s: float = 2.0
    max_open_s: float = 30.0

    def __post_init__(self) -> None:
        for field in ("failures", "min_calls", "window_s", "open_s"):
            positive(field, getattr(self, field))
        if not 0 < self.failure_share <= 1:
            raise InvalidValueError("failure_share", self.failure_share, "above 0, at most 1")
        if self.max_open_s < self.open_s:
            raise InvalidValueError("max_open_s", self.max_open_s, f">= open_s = {self.open_s:g}")


class BreakerStatus(Value, frozen=True, kw_only=True):
    """Where one breaker stands.

    Parameters
    ----------
    state
        Its state.
    failures
        Failures in a row until now.
    opened
        How often it has opened since the start.
    retry_in_s
        Time until a probe is let through; 0 where calls or a probe are.
    """

    state: BreakerState
    failures: int
    opened: int
    retry_in_s: float


class Breaker:
    """Closed: calls pass. Open: none does. Half-open: one at a time does, and its result decides. Not thread-safe.

    A call is told to `began`, and how it ended to one of `succeeded`, `failed` and `ended`, with the time at which it
    began: calls that began before the breaker opened say nothing of now, and change nothing.

    Parameters
    ----------
    rules
        When it opens, and for how long.

    Examples
    --------
    >>> breaker = Breaker(rules=BreakerRules(failures=1, open_s=2))
    >>> breaker.failed(10.0, began_s=9.0)
    >>> breaker.state(11.0), breaker.refuses(11.0), breaker.state(12.0), breaker.refuses(12.0)
    (<BreakerState.OPEN: 'open'>, True, <BreakerState.HALF_OPEN: 'half_open'>, False)
    >>> breaker.began(12.0)
    >>> breaker.refuses(12.1)
    True
    >>> breaker.succeeded(12.5, began_s=12.0)
    >>> breaker.state(12.5)
    <BreakerState.CLOSED: 'closed'>
    """

    __slots__ = (
        "_calls",
        "_failed",
        "_last_calls",
        "_last_failed",
        "_opened_s",
        "_probe_s",
        "_until_s",
        "_window_s",
        "failures",
        "opened",
        "rules",
        "streak",
    )

    def __init__(self, *, rules: BreakerRules) -> None:
        self.rules = rules
        self.failures = 0
        """Failures in a row."""
        self.opened = 0
        """How often it has opened since the start."""
        self.streak = 0
        """How often it has opened without having been closed in between; 0: it is closed."""
        self._opened_s = 0.0
        self._until_s = 0.0
        self._probe_s: float | None = None
        self._window_s = 0.0
        self._calls = self._failed = 0
        self._last_calls = self._last_failed = 0

    def state(self, now_s: float) -> BreakerState:
        """Return its state."""
        if self.streak == 0:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_s < self._until_s else BreakerState.HALF_OPEN

    def status(self, now_s: float) -> BreakerStatus:
        """Return where it stands."""
        wait_s = max(0.0, self._until_s - now_s) if self.streak else 0.0
        return BreakerStatus(state=self.state(now_s), failures=self.failures, opened=self.opened, retry_in_s=wait_s)

    def refuses(self, now_s: float) -> bool:
        """Return whether no call should begin now."""
        if self.streak == 0:
            return False
        return now_s < self._until_s or self._probing(now_s)

    def began(self, now_s: float) -> None:
        """Note a call that begins; of a half-open one it is the probe."""
        if self.streak and now_s >= self._until_s and not self._probing(now_s):
            self._probe_s = now_s

    def succeeded(self, now_s: float, *, began_s: float) -> None:
        """Note a call that succeeded; it closes a breaker that was open when the call began."""
        if self.streak == 0:
            self.failures = 0
            self._count(now_s, failed=False)
        elif began_s > self._opened_s:
            self.streak = self.failures = 0
            self._probe_s = None
            self._forget_calls(now_s)

    def failed(self, now_s: float, *, began_s: float) -> None:
        """Note a call that failed."""
        if self.streak == 0:
            self.failures += 1
            self._count(now_s, failed=True)
            if self.failures >= self.rules.failures or self._too_many():
                self._open(now_s)
        elif began_s > self._opened_s:
            self.failures += 1
            self._open(now_s)

    def ended(self, *, began_s: float) -> None:
        """Note a call that ended without saying anything of the LLM: cancelled, or refused for its own fault."""
        if self._probe_s == began_s:
            self._probe_s = None

    def _probing(self, now_s: float) -> bool:
        return self._probe_s is not None and now_s - self._probe_s < _PROBE_FORGOTTEN_S

    def _open(self, now_s: float) -> None:
        rules = self.rules
        # The exponent is bounded before the power, so that it never becomes infinite.
        open_s = min(rules.max_open_s, rules.open_s * 2.0 ** min(self.streak, 60))
        self.streak += 1
        self.opened += 1
        self._opened_s, self._until_s, self._probe_s = now_s, now_s + open_s, None

    def _too_many(self) -> bool:
        calls, failed = self._calls + self._last_calls, self._failed + self._last_failed
        return calls >= self.rules.min_calls and failed >= self.rules.failure_share * calls

    def _count(self, now_s: float, *, failed: bool) -> None:
        age_s = now_s - self._window_s
        if age_s >= self.rules.window_s:
            recent = age_s < 2 * self.rules.window_s
            self._last_calls, self._last_failed = (self._calls, self._failed) if recent else (0, 0)
            self._calls = self._failed = 0
            self._window_s = now_s
        self._calls += 1
        self._failed += failed

    def _forget_calls(self, now_s: float) -> None:
        self._window_s = now_s
        self._calls = self._failed = 0
        self._last_calls = self._last_failed = 0
