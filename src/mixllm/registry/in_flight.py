"""Calls under way per LLM, as far as this process knows."""

from __future__ import annotations

import threading
from collections import OrderedDict

from mixllm.interfaces import Clock
from mixllm.types import Value
from mixllm.units import positive

__all__ = ["CallUnderWay", "InFlight"]


class CallUnderWay(Value, frozen=True, kw_only=True):
    """A call that was decided on and whose outcome is not known yet.

    Parameters
    ----------
    llm
        The LLM that was chosen.
    key_id
        Who asked.
    started_s
        When it was decided, on the monotonic clock.
    tokens
        How many tokens it is expected to use.
    in_flight
        Calls to the LLM that were under way when it began; None: those that its decision counted.
    """

    llm: str
    key_id: str
    started_s: float
    tokens: float = 0.0
    in_flight: int | None = None


class InFlight:
    """Counts calls from decision to outcome; thread-safe.

    Parameters
    ----------
    clock
        Tells when a call has been forgotten by its caller.
    expire_after_s
        A call without an outcome for this long no longer counts, so that callers who never record do not pile up.
    """

    def __init__(self, *, clock: Clock, expire_after_s: float = 600.0) -> None:
        self.clock = clock
        self.expire_after_s = positive("expire_after_s", expire_after_s)
        self._lock = threading.Lock()
        self._calls: OrderedDict[str, CallUnderWay] = OrderedDict()
        self._counts: dict[str, int] = {}

    def start(
        self, decision_id: str, llm: str, *, key_id: str = "", tokens: float = 0.0, in_flight: int | None = None
    ) -> int:
        """Count a call to `llm`, asked for by `key_id`, and return how many it has; one that is counted moves there."""
        now_s = self.clock.monotonic_s()
        with self._lock:
            self._expire(now_s)
            known = self._calls.pop(decision_id, None)
            if known is not None:
                self._release(known.llm)
            self._calls[decision_id] = CallUnderWay(
                llm=llm, key_id=key_id, started_s=now_s, tokens=tokens, in_flight=in_flight
            )
            count = self._counts[llm] = self._counts.get(llm, 0) + 1
            return count

    def finish(self, decision_id: str) -> CallUnderWay | None:
        """Stop counting a call and return it; None where it was not (or no longer) counted."""
        with self._lock:
            call = self._calls.pop(decision_id, None)
            if call is None:
                return None
            self._release(call.llm)
            return call

    def count(self, llm: str) -> int:
        """Return the calls to `llm` under way."""
        with self._lock:
            self._expire(self.clock.monotonic_s())
            return self._counts.get(llm, 0)

    def counts(self) -> dict[str, int]:
        """Return the calls under way of every LLM that has any."""
        with self._lock:
            self._expire(self.clock.monotonic_s())
            return dict(self._counts)

    def _expire(self, now_s: float) -> None:
        while self._calls:
            decision_id, call = next(iter(self._calls.items()))
            if now_s - call.started_s < self.expire_after_s:
                return
            del self._calls[decision_id]
            self._release(call.llm)

    def _release(self, llm: str) -> None:
        remaining = self._counts.get(llm, 0) - 1
        if remaining > 0:
            self._counts[llm] = remaining
        else:
            self._counts.pop(llm, None)
