"""The circuit breakers of a pool."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType

from mixllm.interfaces import Clock
from mixllm.registry.breaker import Breaker, BreakerRules, BreakerState, BreakerStatus

__all__ = ["Breakers"]

_NOTHING: Mapping[str, str] = MappingProxyType({})
_CLOSED = BreakerStatus(state=BreakerState.CLOSED, failures=0, opened=0, retry_in_s=0.0)


class Breakers:
    """A breaker for each LLM that was ever called; thread-safe.

    Parameters
    ----------
    clock
        Time.
    rules
        When they open; None: they never do.

    Examples
    --------
    >>> from mixllm.clock import ManualClock
    >>> breakers = Breakers(clock=ManualClock(), rules=BreakerRules(failures=1, open_s=2))
    >>> breakers.failed("a", began_s=breakers.begin("a"))
    >>> dict(breakers.refusing()), breakers.begin("a") is None, breakers.begin("b")
    ({'a': 'it keeps failing; tried again in 2.0 s'}, True, 0.0)
    """

    def __init__(self, *, clock: Clock, rules: BreakerRules | None = None) -> None:
        self.clock = clock
        self.rules = rules
        self._lock = threading.Lock()
        self._breakers: dict[str, Breaker] = {}
        self._troubled: frozenset[str] = frozenset()

    def refusing(self) -> Mapping[str, str]:
        """Return the LLMs that no call should be made to now, and why."""
        if not self._troubled:
            return _NOTHING
        now_s = self.clock.monotonic_s()
        with self._lock:
            return {
                llm: _reason(self._breakers[llm].status(now_s))
                for llm in sorted(self._troubled)
                if self._breakers[llm].refuses(now_s)
            }

    def begin(self, llm: str, *, anyway: bool = False) -> float | None:
        """Return when a call begins, now, or None where none should; with `anyway` it does in any case.

        Every call that begins has to be told to `succeeded`, `failed` or `ended`, with that time.
        """
        now_s = self.clock.monotonic_s()
        if llm not in self._troubled:
            return now_s
        with self._lock:
            breaker = self._breakers.get(llm)
            if breaker is None:
                return now_s
            if breaker.refuses(now_s) and not anyway:
                return None
            breaker.began(now_s)
            return now_s

    def succeeded(self, llm: str, *, began_s: float) -> None:
        """Note that a call brought its answer, or the first of it."""
        if self.rules is None:
            return
        with self._lock:
            breaker = self._of(llm, self.rules)
            breaker.succeeded(self.clock.monotonic_s(), began_s=began_s)
            self._note(llm, breaker)

    def failed(self, llm: str, *, began_s: float) -> None:
        """Note that a call failed, and that it was the LLM's fault."""
        if self.rules is None:
            return
        with self._lock:
            breaker = self._of(llm, self.rules)
            breaker.failed(self.clock.monotonic_s(), began_s=began_s)
            self._note(llm, breaker)

    def ended(self, llm: str, *, began_s: float) -> None:
        """Note that a call ended in a way that says nothing of the LLM."""
        if llm in self._troubled:
            with self._lock:
                breaker = self._breakers.get(llm)
                if breaker is not None:
                    breaker.ended(began_s=began_s)

    def forget(self, llm: str) -> None:
        """Begin anew with an LLM: it was removed, or has another endpoint."""
        with self._lock:
            self._breakers.pop(llm, None)
            self._troubled -= {llm}

    def status(self, llm: str) -> BreakerStatus:
        """Return where the breaker of an LLM stands."""
        with self._lock:
            breaker = self._breakers.get(llm)
            return _CLOSED if breaker is None else breaker.status(self.clock.monotonic_s())

    def _of(self, llm: str, rules: BreakerRules) -> Breaker:
        breaker = self._breakers.get(llm)
        if breaker is None:
            breaker = self._breakers[llm] = Breaker(rules=rules)
        return breaker

    def _note(self, llm: str, breaker: Breaker) -> None:
        # Nearly always none is troubled: whoever asks then needs neither a lock nor a look at the breakers.
        if (breaker.streak > 0) is not (llm in self._troubled):
            self._troubled ^= {llm}


def _reason(status: BreakerStatus) -> str:
    if status.retry_in_s > 0:
        return f"it keeps failing; tried again in {status.retry_in_s:.1f} s"
    return "it kept failing; a first call tries it just now"
