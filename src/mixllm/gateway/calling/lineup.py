"""Who is called next for one decision: the chosen LLM, then the next best by score, then one of them again."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

from mixllm.config import CallsConfig
from mixllm.errors import UnknownLLMError
from mixllm.gateway.calling.faults import Blame, Fault
from mixllm.registry import Breakers
from mixllm.router import RouterCore
from mixllm.router.budget import CHEAPEST
from mixllm.types import Candidate, Decision, LLMSpec, Query

__all__ = ["Lineup", "Turn"]


class Turn(NamedTuple):
    """A call that may be made.

    Parameters
    ----------
    spec
        Of which LLM.
    began_s
        What its breaker has to be told when the call ends (see `Breakers.begin`).
    wait_s
        Time to wait before the call.
    again
        Whether it was called for this request before.
    """

    spec: LLMSpec
    began_s: float
    wait_s: float = 0.0
    again: bool = False


class Lineup:
    """The order of the calls of one request, as far as it depends on what became of those before.

    A fallback is a candidate of the decision, so it meets the hard constraints, and is expected to answer in the time
    that is left. An LLM whose breaker is open is called only where nobody else is left, even one that is no candidate
    for that alone. One that refuses calls for now, or whose rate limit has been used up since the decision, is not
    called before that is over.

    Parameters
    ----------
    router
        Has the pool and the breakers.
    decision, query
        What was decided, on what.
    spec
        The chosen LLM, as it was then.
    config
        How often and how long.
    """

    __slots__ = ("_breakers", "_config", "_decision", "_failed", "_query", "_router", "_spec", "_too_small", "_tried")

    def __init__(
        self, *, router: RouterCore, decision: Decision, query: Query, spec: LLMSpec, config: CallsConfig
    ) -> None:
        self._router = router
        self._breakers: Breakers = router.breakers
        self._decision = decision
        self._query = query
        self._spec = spec
        self._config = config
        self._tried = {spec.name: 1}
        self._failed: dict[str, tuple[Fault, float]] = {}
        self._too_small = 0

    def widen(self, decision: Decision) -> None:
        """Have the candidates of `decision` for fallbacks, which is the same one with more of them."""
        self._decision = decision

    def instead(self) -> Turn:
        """Return whose turn it is where the breaker of the chosen LLM refuses the first call.

        It opened between the decision and now, or every LLM fails; then the chosen one is called all the same.
        """
        turn = self._untried(0.0, anyway=False)
        return turn or Turn(self._spec, self._began_s(self._spec.name))

    def failed(self, spec: LLMSpec, fault: Fault, *, now_s: float) -> None:
        """Note that a call failed, at a time of the clock that `after` is asked on."""
        self._failed[spec.name] = (fault, now_s)
        if fault.blame is Blame.OVERFLOW:
            self._too_small = max(self._too_small, spec.context_window or 0)

    def after(self, fault: Fault, *, elapsed_s: float, now_s: float, left_s: float) -> Turn | None:
        """Return whose turn it is after a failure; None where the request ends with it.

        Parameters
        ----------
        fault
            What happened.
        elapsed_s
            Time since the request came.
        now_s, left_s
            The time, and how much of the request's is left.
        """
        if fault.blame in (Blame.REQUEST, Blame.TIME):
            return None
        turn = self._untried(elapsed_s, anyway=False) or self._untried(elapsed_s, anyway=True) or self._left_alone()
        return turn or self._once_more(elapsed_s, now_s, left_s)

    def beside(self, *, elapsed_s: float) -> Turn | None:
        """Return the LLM that is to be started beside one that is late; None where there is none."""
        return self._untried(elapsed_s, anyway=False)

    def forecast_of(self, llm: str) -> Candidate | None:
        """Return the candidate of that name."""
        return next((candidate for candidate in self._decision.candidates if candidate.llm == llm), None)

    def _untried(self, elapsed_s: float, *, anyway: bool) -> Turn | None:
        for candidate in self._ranked():
            if candidate.llm in self._tried or not self._in_time(candidate, elapsed_s):
                continue
            spec = self._current(candidate.llm)
            if spec is None or not self._suits(spec) or self._held_s(spec) > 0:
                continue
            began_s = self._breakers.begin(spec.name, anyway=anyway)
            if began_s is not None:
                self._tried[spec.name] = 1
                return Turn(spec, began_s)
        return None

    def _left_alone(self) -> Turn | None:
        """Return the turn of an LLM that was no candidate because it kept failing; perhaps it does not any more."""
        if self._query.max_latency_s is not None or self._query.max_ttft_s is not None:
            return None  # There is no forecast that tells whether it could still keep the limit.
        for one in self._decision.ineligible:
            spec = self._current(one.llm) if one.failing and one.llm not in self._tried else None
            if spec is not None and self._suits(spec) and self._held_s(spec) == 0:
                self._tried[spec.name] = 1
                return Turn(spec, self._began_s(spec.name))
        return None

    def _once_more(self, elapsed_s: float, now_s: float, left_s: float) -> Turn | None:
        """Return the turn of the LLM that can be called again first."""
        waits = {}
        for llm, (fault, failed_s) in self._failed.items():
            spec = self._current(llm)
            if fault.passing and spec is not None:
                wait_s = self._wait_s(self._tried.get(llm, 1), fault) - (now_s - failed_s)
                wait_s = max(wait_s, self._held_s(spec))
                if wait_s <= min(self._config.max_retry_wait_s, left_s):
                    waits[llm] = max(0.0, wait_s)
        for llm in sorted(waits, key=waits.__getitem__):
            candidate, spec = self.forecast_of(llm), self._current(llm)
            if candidate is None or spec is None or not self._in_time(candidate, elapsed_s + waits[llm]):
                continue
            self._tried[llm] += 1
            return Turn(spec, self._began_s(llm), wait_s=waits[llm], again=True)
        return None

    def _held_s(self, spec: LLMSpec) -> float:
        """Return for how long an LLM takes no call: its endpoint asked to wait, or its rate limit is used up."""
        holds = self._router.traffic.holds([spec], tokens=self._decision.tokens_in)
        hold = None if holds is None else holds[0]
        return 0.0 if hold is None else hold.wait_s

    def _began_s(self, llm: str) -> float:
        began_s = self._breakers.begin(llm, anyway=True)
        assert began_s is not None
        return began_s

    def _wait_s(self, calls: int, fault: Fault) -> float:
        """Return how long an LLM is left alone after it failed for the `calls`-th time."""
        # Between half and one and a half of the mean: those that failed together do not come back together.
        backoff_s = self._config.retry_delay_s * 2.0 ** (calls - 1) * (0.5 + random.random())  # noqa: S311 -- no secret
        return max(backoff_s, fault.retry_after_s or 0.0)

    def _ranked(self) -> Iterator[Candidate]:
        decision = self._decision
        if decision.policy == CHEAPEST:
            # The money is spent: the next best is the next cheapest.
            return iter(sorted(decision.candidates, key=lambda candidate: candidate.forecast.cost_usd.mean))
        return iter(sorted(decision.candidates, key=lambda candidate: -candidate.score))

    def _in_time(self, candidate: Candidate, elapsed_s: float) -> bool:
        forecast = candidate.forecast
        query = self._query
        latest_s = math.inf if query.max_latency_s is None else query.max_latency_s
        first_s = math.inf if query.max_ttft_s is None else query.max_ttft_s
        return elapsed_s + forecast.latency_s.mean <= latest_s and elapsed_s + forecast.ttft_s.mean <= first_s

    def _suits(self, spec: LLMSpec) -> bool:
        if self._query.endpoints.isdisjoint(spec.endpoints):
            return False  # The request has the form that suits the LLM that was chosen.
        return not self._too_small or spec.context_window is None or spec.context_window > self._too_small

    def _current(self, llm: str) -> LLMSpec | None:
        try:
            return self._router.llm(llm)
        except UnknownLLMError:
            return None  # removed meanwhile
