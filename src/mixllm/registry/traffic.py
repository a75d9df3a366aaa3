"""What is going on at each LLM: calls under way, what counts against its rate limits, what it has asked to wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixllm.interfaces import Clock
from mixllm.registry.in_flight import CallUnderWay, InFlight
from mixllm.registry.rate_window import CELLS, COLUMNS, RateWindow, rate_holds
from mixllm.types import Hold, LLMSpec
from mixllm.units import positive

__all__ = ["OtherTraffic", "Traffic"]

_UNSAID_COOLDOWN_S = 1.0


class OtherTraffic(Protocol):
    """What other processes do with the same LLMs, and where they are told what this one does; never raises."""

    @property
    def workers(self) -> int:
        """How many processes share the picture, this one included."""

    def counts(self) -> dict[str, int]:
        """Return the calls that the others have under way, by LLM."""

    def cooldowns(self) -> dict[str, float]:
        """Return until when LLMs have asked the others to wait, on the monotonic clock."""

    def cells(self, llms: Sequence[str]) -> NDArray[np.float64]:
        """Return the cells of the others' rate windows of K LLMs, shape (K, n, 3)."""

    def tell_count(self, llm: str, count: int) -> None:
        """Tell how many calls this process has under way."""

    def tell_cooldown(self, llm: str, until_s: float) -> None:
        """Tell until when an LLM has asked to wait."""

    def tell_cell(self, llm: str, place: int, cell: NDArray[np.float64]) -> None:
        """Tell one cell of this process's rate window."""


class Traffic:
    """Calls under way, rate windows and cooldowns of every LLM; thread-safe.

    Parameters
    ----------
    clock
        Time; only its monotonic part is used.
    max_cooldown_s
        An LLM is left alone no longer than this, whatever it asks for.
    expire_after_s
        See `InFlight`.
    """

    def __init__(self, *, clock: Clock, max_cooldown_s: float = 60.0, expire_after_s: float = 600.0) -> None:
        self.clock = clock
        self.max_cooldown_s = positive("max_cooldown_s", max_cooldown_s)
        self.in_flight = InFlight(clock=clock, expire_after_s=expire_after_s)
        self._lock = threading.Lock()
        self._windows: dict[str, RateWindow] = {}
        self._cooldowns: dict[str, float] = {}
        self._refusals: dict[str, int] = {}
        self._others: OtherTraffic | None = None

    def share(self, others: OtherTraffic | None) -> None:
        """See from now on what other processes do, and tell them what this one does; None: no longer."""
        self._others = others

    def start(
        self, decision_id: str, llm: str, *, key_id: str = "", tokens: float = 0.0, in_flight: int | None = None
    ) -> None:
        """Count a call to `llm` that is expected to use so many tokens, begun beside `in_flight` others."""
        now_s = self.clock.monotonic_s()
        count = self.in_flight.start(decision_id, llm, key_id=key_id, tokens=tokens, in_flight=in_flight)
        with self._lock:
            window = self._windows.get(llm)
            if window is None:
                window = self._windows[llm] = RateWindow()
            place = window.count(now_s, tokens)
            if self._others is not None:
                self._others.tell_cell(llm, place, window.cells[place])
                self._others.tell_count(llm, count)

    def finish(self, decision_id: str, *, tokens: float | None = None) -> CallUnderWay | None:
        """Stop counting a call as under way, and return it; None where it was not counted.

        Parameters
        ----------
        decision_id
            Which decision's call it was.
        tokens
            What it has used, against the limit of tokens; None: what was expected.
        """
        call = self.in_flight.finish(decision_id)
        if call is None:
            return None
        if tokens is not None:
            with self._lock:
                window = self._windows.get(call.llm)
                place = None if window is None else window.settle(call.started_s, tokens - call.tokens)
                if window is not None and place is not None and self._others is not None:
                    self._others.tell_cell(call.llm, place, window.cells[place])
        if self._others is not None:
            self._others.tell_count(call.llm, self.in_flight.count(call.llm))
        return call

    def refused(self, llm: str, retry_after_s: float | None = None) -> None:
        """Take note that `llm` refuses calls, for `retry_after_s` where it says so; at most `max_cooldown_s`."""
        asked_s = _UNSAID_COOLDOWN_S if retry_after_s is None else max(0.0, retry_after_s)
        until_s = self.clock.monotonic_s() + min(asked_s, self.max_cooldown_s)
        with self._lock:
            self._refusals[llm] = self._refusals.get(llm, 0) + 1
            if until_s <= self._cooldowns.get(llm, 0.0):
                return
            self._cooldowns[llm] = until_s
            if self._others is not None:
                self._others.tell_cooldown(llm, until_s)

    @property
    def processes(self) -> int:
        """How many processes share the picture, this one included."""
        return 1 if self._others is None else self._others.workers

    def refusals(self) -> dict[str, int]:
        """Return how often each LLM has refused a call of this process."""
        with self._lock:
            return dict(self._refusals)

    def counts(self) -> dict[str, int]:
        """Return the calls under way of every LLM that has any, those of other processes included."""
        counts = self.in_flight.counts()
        if self._others is not None:
            for llm, count in self._others.counts().items():
                counts[llm] = counts.get(llm, 0) + count
        return counts

    def holds(self, specs: Sequence[LLMSpec], *, tokens: float) -> list[Hold | None] | None:
        """Return why each LLM would refuse a call with a prompt of `tokens` now; None where none would."""
        now_s = self.clock.monotonic_s()
        with self._lock:
            cooldowns = self._until_s(now_s)
            limited = [row for row, spec in enumerate(specs) if spec.requests_per_minute or spec.tokens_per_minute]
            if not cooldowns and not limited:
                return None
            holds = [_asked(cooldowns[spec.name] - now_s) if spec.name in cooldowns else None for spec in specs]
            if limited:
                some = [specs[row] for row in limited]
                rates = rate_holds(some, self._cells(some), now_s=now_s, tokens=tokens)
                for row, rate in zip(limited, rates, strict=True):
                    holds[row] = _longer(holds[row], rate)
        return holds if any(holds) else None

    def refused_s(self) -> dict[str, float]:
        """Return for how long LLMs have asked to be left alone, those that have, as any process was told."""
        now_s = self.clock.monotonic_s()
        with self._lock:
            return {llm: until_s - now_s for llm, until_s in self._until_s(now_s).items()}

    def _until_s(self, now_s: float) -> dict[str, float]:
        """Return when each cooldown ends that has not ended; with the lock held."""
        cooldowns = {llm: until_s for llm, until_s in self._cooldowns.items() if until_s > now_s}
        if self._others is not None:
            for llm, until_s in self._others.cooldowns().items():
                # Bounded here too: what another process wrote is not taken on trust.
                bounded_s = min(until_s, now_s + self.max_cooldown_s)
                if bounded_s > max(now_s, cooldowns.get(llm, 0.0)):
                    cooldowns[llm] = bounded_s
        return cooldowns

    def _cells(self, specs: Sequence[LLMSpec]) -> NDArray[np.float64]:
        """Return the rate windows of every process, shape (K, n, 3); with the lock held."""
        windows = [self._windows.get(spec.name) for spec in specs]
        own = np.stack([_EMPTY if window is None else window.cells for window in windows])
        if self._others is None:
            return own
        return np.concatenate([own, self._others.cells([spec.name for spec in specs])], axis=1)


_EMPTY = np.zeros((CELLS, COLUMNS))


def _asked(wait_s: float) -> Hold:
    return Hold(wait_s=wait_s, reason=f"its endpoint refused and asked to wait, {wait_s:.1f} s are left")


def _longer(one: Hold | None, other: Hold | None) -> Hold | None:
    if one is None or other is None:
        return one or other
    return one if one.wait_s >= other.wait_s else other
