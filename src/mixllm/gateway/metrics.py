"""Prometheus metrics of one gateway."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mixllm.gateway.budget_metrics import budget_metrics, cost_share_metrics, shadow_metrics
from mixllm.gateway.notes import note_decision, note_outcome
from mixllm.gateway.store_metrics import store_metrics
from mixllm.gateway.traffic_metrics import traffic_metrics
from mixllm.learning.vitals import Vitals
from mixllm.router import RouterCore
from mixllm.types import Decision, Outcome, OutcomeStatus

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_OVERHEAD_BUCKETS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
_SCORE_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
_LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
_MetricT = TypeVar("_MetricT", Counter, Histogram)


class _Labelled(Generic[_MetricT]):
    """A metric that finds what it counts by one look: by its own `labels` that takes ten times as long."""

    def __init__(self, metric: _MetricT) -> None:
        self._metric: _MetricT = metric
        self._children: dict[tuple[object, ...], _MetricT] = {}

    def __call__(self, *labels: str | bool) -> _MetricT:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(
                *(str(label).lower() if isinstance(label, bool) else label for label in labels)
            )
        return child


class Metrics:
    """What happened to requests, counted as it happens, and the state of learning, read when asked.

    Parameters
    ----------
    router
        Whose learning, pool and store are shown.
    """

    def __init__(self, *, router: RouterCore) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_RouterState(router))
        self._requests = self._counter("requests", "Calls to LLMs", "llm", "status", "streamed")
        self._cost_usd = self._counter("cost_usd", "Measured cost of calls in USD", "llm")
        self._tokens = self._counter("tokens", "Tokens of calls", "llm", "direction")
        self._feedback = self._counter("feedback", "Judgements received", "kind", "duplicate")
        self._reloads = self._counter("config_reloads", "Times the configuration was read again", "result")
        self._overhead_s = Histogram(
            "mixllm_overhead_seconds",
            "Time a request spends in the gateway itself",
            buckets=_OVERHEAD_BUCKETS_S,
            registry=self.registry,
        )
        self._out_of_domain = Histogram(
            "mixllm_out_of_domain",
            "How unlike what was learned from queries are, from 0 to 1",
            buckets=_SCORE_BUCKETS,
            registry=self.registry,
        )
        self._latency_s = self._times("latency", "Time of successful calls to the last token")
        self._ttft_s = self._times("ttft", "Time of successful streamed calls to the first token")

    def observe_decision(self, decision: Decision) -> None:
        """Count a decision."""
        note_decision(decision)
        self._out_of_domain.observe(decision.out_of_domain)

    def observe(self, outcome: Outcome) -> None:
        """Count a call."""
        note_outcome(outcome)
        llm = outcome.llm or ""
        self._requests(llm, outcome.status.value, outcome.streamed).inc()
        if outcome.cost_usd is not None:
            self._cost_usd(llm).inc(outcome.cost_usd)
        if outcome.tokens_in is not None:
            self._tokens(llm, "in").inc(outcome.tokens_in)
        if outcome.tokens_out is not None:
            self._tokens(llm, "out").inc(outcome.tokens_out)
        if outcome.status is OutcomeStatus.OK and outcome.latency_s is not None:
            self._latency_s(llm).observe(outcome.latency_s)
            if outcome.ttft_s is not None:
                self._ttft_s(llm).observe(outcome.ttft_s)

    def observe_overhead(self, overhead_s: float) -> None:
        """Count the time that a request spent in the gateway itself."""
        self._overhead_s.observe(max(0.0, overhead_s))

    def observe_feedback(self, *, kind: str, duplicate: bool) -> None:
        """Count a judgement."""
        self._feedback(kind, duplicate).inc()

    def observe_reload(self, *, applied: bool) -> None:
        """Count a time that the configuration was read again."""
        self._reloads("applied" if applied else "refused").inc()

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> _Labelled[Counter]:
        return _Labelled(Counter(f"mixllm_{name}", documentation, labels, registry=self.registry))

    def _times(self, name: str, documentation: str) -> _Labelled[Histogram]:
        return _Labelled(
            Histogram(
                f"mixllm_{name}_seconds", documentation, ["llm"], buckets=_LATENCY_BUCKETS_S, registry=self.registry
            )
        )


class _RouterState(Collector):
    def __init__(self, router: RouterCore) -> None:
        self.router = router

    def collect(self) -> Iterable[Metric]:
        vitals = self.router.worker.vitals()
        snapshot = self.router.snapshot
        yield GaugeMetricFamily("mixllm_model_version", "Version of the snapshot", value=snapshot.version)
        yield CounterMetricFamily(
            "mixllm_snapshot_swaps", "Snapshots that took the place of another", self.router.swaps
        )
        yield GaugeMetricFamily("mixllm_learning_position", "Last event learned from", value=vitals.position)
        yield from _learning(vitals)
        yield from store_metrics(self.router.store)
        events = CounterMetricFamily("mixllm_learning_events", "Events seen by the learner", labels=["result"])
        for result in ("outcomes", "feedback", "ignored", "refused"):
            events.add_metric([result], getattr(vitals, result))
        yield events
        yield from traffic_metrics(self.router)
        judged = GaugeMetricFamily("mixllm_judgements", "Judgements an LLM's quality rests on", labels=["llm"])
        effective = GaugeMetricFamily(
            "mixllm_effective_samples", "Weights of what was learned, after forgetting", labels=["llm", "target"]
        )
        for row, spec in enumerate(snapshot.specs):
            judged.add_metric([spec.name], snapshot.judgements[row])
            effective.add_metric([spec.name, "quality"], snapshot.judgements[row])
            effective.add_metric([spec.name, "length"], snapshot.answers[row])
        yield judged
        yield effective
        if self.router.budget is not None:
            yield from budget_metrics(self.router.budget.status())
        if self.router.cost_share is not None:
            yield from cost_share_metrics(self.router.cost_share.status())
        if self.router.shadows is not None:
            yield from shadow_metrics(self.router.shadows.counts())
        yield from self._drift()

    def _drift(self) -> Iterable[Metric]:
        statistic = GaugeMetricFamily(
            "mixllm_drift_statistic", "Test for a change of quality: an alarm comes at 1", labels=["llm"]
        )
        alarms = CounterMetricFamily("mixllm_drift_alarms", "Changes of quality found", labels=["llm", "direction"])
        last = GaugeMetricFamily("mixllm_drift_last_alarm_seconds", "Unix time of the last one", labels=["llm"])
        for status in self.router.worker.status().drift:
            statistic.add_metric([status.llm], status.statistic)
            alarms.add_metric([status.llm, "fall"], status.falls)
            alarms.add_metric([status.llm, "rise"], status.rises)
            if status.last_alarm_s is not None:
                last.add_metric([status.llm], status.last_alarm_s)
        yield from (statistic, alarms, last)


def _learning(vitals: Vitals) -> Iterable[Metric]:
    """Yield what tells whether learning is really happening."""
    for name, documentation, value in (
        ("running", "Whether the thread that learns is alive", vitals.running),
        ("stalled", "Whether an event waits too long while nothing is learned", vitals.stalled),
        ("lag_events", "How far the newest event is ahead of what was learned", vitals.lag),
        ("waiting_seconds", "For how long the oldest event has been waiting to be learned", vitals.waiting_s),
        ("idle_seconds", "Time since something was last learned, or since the start", vitals.idle_s),
        ("untaught_events", "Events without a break until now that taught nothing", vitals.untaught),
        ("refused_share", "Share of refused events among the latest", vitals.refused_share),
    ):
        yield GaugeMetricFamily(f"mixllm_learning_{name}", documentation, value=float(value))
    if vitals.learned_age_s is not None:
        yield GaugeMetricFamily(
            "mixllm_learning_age_seconds", "Age of the newest event learned from", value=vitals.learned_age_s
        )
