"""Prometheus metrics of implicit signals and of the judge."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mixllm.gateway.watching import Watch

__all__ = ["WatchMetrics"]

_RESULTS = ("judged", "unusable", "failed", "dropped")


class WatchMetrics(Collector):
    """Reads what was observed when it is asked.

    Parameters
    ----------
    watch
        Whose signals and judge are shown.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        signals = CounterMetricFamily(
            "mixllm_implicit_signals", "Thumbs down read off the traffic", labels=["signal", "result"]
        )
        for (signal, result), count in sorted(self.watch.signals.counts().items()):
            signals.add_metric([signal, result], count)
        yield signals
        judge = self.watch.judge
        if judge is None:
            return
        answers = CounterMetricFamily(
            "mixllm_judge_answers", "Sampled answers by what became of them", labels=["result"]
        )
        for result in _RESULTS:
            answers.add_metric([result], getattr(judge.counts, result))
        yield answers
        yield CounterMetricFamily(
            "mixllm_judge_cost_usd", "Cost of the judge's answers in USD", value=judge.counts.cost_usd
        )
        yield GaugeMetricFamily("mixllm_judge_waiting", "Answers that wait to be judged", value=judge.waiting)
