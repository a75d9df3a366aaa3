"""Prometheus metrics of the store."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric

from mixllm.errors import StoreError
from mixllm.interfaces import Store

__all__ = ["store_metrics"]


def store_metrics(store: Store) -> Iterable[Metric]:
    """Yield how the store is and, where it answers, what is in it."""
    health = store.health()
    for name, documentation, value in (
        ("up", "Whether the store can be written", health.problem is None),
        ("spooled", "Decisions, outcomes and feedback that wait on the local disk for the store", health.spooled),
        ("spooled_bytes", "Their bytes", health.spooled_bytes),
    ):
        yield GaugeMetricFamily(f"mixllm_store_{name}", documentation, value=float(value))
    try:
        states, counts = store.states(), store.counts()
    except StoreError:
        return
    kept = GaugeMetricFamily("mixllm_checkpoints", "Checkpoints in the store", labels=["quarantined"])
    for quarantined in (False, True):
        kept.add_metric(
            [str(quarantined).lower()], sum((info.quarantined is not None) is quarantined for info in states)
        )
    yield kept
    rows = GaugeMetricFamily("mixllm_store_rows", "Rows in the store since it was made", labels=["kind"])
    for kind, count in counts.items():
        rows.add_metric([kind], count)
    yield rows
