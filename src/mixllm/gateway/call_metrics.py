"""Prometheus metrics of what it took to get answers: failures, further calls, hedges, breakers, refusals."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mixllm.registry import BreakerState
from mixllm.router import RouterCore

__all__ = ["CallMetrics"]


class CallMetrics:
    """Counts what happens beyond the first call of a request.

    Parameters
    ----------
    registry
        Where the metrics are shown.
    router
        Whose breakers are shown.
    """

    def __init__(self, *, registry: CollectorRegistry, router: RouterCore) -> None:
        self._failures = Counter(
            "mixllm_call_failures",
            "Calls that failed before they delivered anything",
            ["llm", "reason"],
            registry=registry,
        )
        self._further = Counter(
            "mixllm_further_calls",
            "Calls after a failure: fallbacks to another LLM, and retries of the same one",
            ["llm", "kind"],
            registry=registry,
        )
        self._hedges = Counter(
            "mixllm_hedges", "Late calls that another was started beside", ["llm", "result"], registry=registry
        )
        self._hedge_usd = Counter(
            "mixllm_hedge_cost_usd", "Cost of calls that lost a race in USD, estimated", registry=registry
        )
        self._shed = Counter("mixllm_shed_requests", "Requests refused at the door", ["reason"], registry=registry)
        registry.register(_BreakerStates(router))

    def observe_failure(self, llm: str, reason: str) -> None:
        """Count a call that failed."""
        self._failures.labels(llm, reason).inc()

    def observe_further(self, llm: str, *, again: bool) -> None:
        """Count a call after a failure."""
        self._further.labels(llm, "retry" if again else "fallback").inc()

    def observe_hedge(self, llm: str, *, won: bool, lost_usd: float) -> None:
        """Count a hedge of a late LLM, whether the other was quicker, and what the loser cost."""
        self._hedges.labels(llm, "won" if won else "lost").inc()
        self._hedge_usd.inc(lost_usd)

    def observe_shed(self, reason: str) -> None:
        """Count a request that was refused at the door."""
        self._shed.labels(reason).inc()


class _BreakerStates(Collector):
    def __init__(self, router: RouterCore) -> None:
        self.router = router

    def collect(self) -> Iterable[Metric]:
        state = GaugeMetricFamily("mixllm_breaker_state", "1 for the state that it is in", labels=["llm", "state"])
        opened = CounterMetricFamily("mixllm_breaker_opened", "How often it opened", labels=["llm"])
        for spec in self.router.llms:
            status = self.router.breakers.status(spec.name)
            for one in BreakerState:
                state.add_metric([spec.name, one.value], float(status.state is one))
            opened.add_metric([spec.name], status.opened)
        yield state
        yield opened
