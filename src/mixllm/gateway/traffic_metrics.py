"""What is going on at each LLM, for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mixllm.router import RouterCore

__all__ = ["traffic_metrics"]


def traffic_metrics(router: RouterCore) -> Iterable[Metric]:
    """Yield how busy each LLM is, what it refuses, and how many requests the pool was too busy for.

    Calls under way, waits and cooldowns are those of all workers; refusals and what was shed are this worker's own.
    """
    under_way = GaugeMetricFamily("mixllm_in_flight", "Calls under way", labels=["llm"])
    waits = GaugeMetricFamily("mixllm_expected_wait_seconds", "What a call of usual length would wait", labels=["llm"])
    cooldowns = GaugeMetricFamily(
        "mixllm_cooldown_seconds", "How long an endpoint asked to be left alone", labels=["llm"]
    )
    refusals = CounterMetricFamily("mixllm_refusals", "Calls that an endpoint refused as too many", labels=["llm"])
    counts, waits_s = router.traffic.counts(), router.waits_s()
    refused_s, refused = router.traffic.refused_s(), router.traffic.refusals()
    for spec in router.llms:
        under_way.add_metric([spec.name], counts.get(spec.name, 0))
        waits.add_metric([spec.name], waits_s.get(spec.name, 0.0))
        cooldowns.add_metric([spec.name], refused_s.get(spec.name, 0.0))
        refusals.add_metric([spec.name], refused.get(spec.name, 0))
    yield from (under_way, waits, cooldowns, refusals)
    yield GaugeMetricFamily("mixllm_workers", "Gateways that share one picture of the load", router.traffic.processes)
    worker = GaugeMetricFamily("mixllm_worker", "The process that tells all this", labels=["pid"])
    worker.add_metric([str(os.getpid())], 1)
    yield worker
    yield CounterMetricFamily("mixllm_shed", "Requests refused because the pool was busy", router.shed)
