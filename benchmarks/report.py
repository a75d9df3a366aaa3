"""How long ``mixllm report`` reads, and what that needs of memory.

    python -m benchmarks.report [--decisions 100000]

A decision has eleven candidates, 512 floats of encoding, an outcome, and every tenth one a feedback, as in
`benchmarks.stores`. Both stores are filled and read in this process, the PostgreSQL server is started from a wheel. CPU
is this process's: what the server needs comes on top.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import store as keep
from benchmarks.stores import full_record
from mixllm.conformance.store_samples import sample_feedback, sample_outcome
from mixllm.dashboard import read_report
from mixllm.interfaces import Store
from mixllm.store import PostgresStore, SQLiteStore

_IN_FLIGHT = 4_000
"""No more decisions wait to be committed: the queue must not drop any."""


def main() -> None:
    from tests.postgres_server import running_server

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=100_000)
    decisions = parser.parse_args().decisions
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        stores: dict[str, Store] = {
            "sqlite": SQLiteStore(path=Path(folder) / "report.db"),
            "postgres": PostgresStore(url=server.url, schema="report"),
        }
        reading = {name: _reading(one, decisions) for name, one in stores.items()}
    result = {"decisions": decisions, "reading": reading}
    path = keep("report", result, command=f"python -m benchmarks.report --decisions {decisions}")
    print(path.read_text())


def _reading(store: Store, decisions: int) -> dict[str, Any]:
    _fill(store, decisions)
    before_mib = _most_mib()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    report = read_report(store, now_s=time.time(), span_s=None)
    took_s, took_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    assert report.decisions == decisions
    store.close()
    return {
        "seconds": round(took_s, 2),
        "cpu_seconds": round(took_cpu_s, 2),
        "peak_grew_by_mib": round(_most_mib() - before_mib, 1),
    }


def _fill(store: Store, decisions: int) -> None:
    for number in range(decisions):
        record = full_record(number)
        store.append_decision(record)
        store.append_outcome(sample_outcome(record))
        if number % 10 == 0:
            store.append_feedback(sample_feedback(record, f"f{number}"))
        if number % _IN_FLIGHT == 0:
            store.flush()
    store.flush()
    assert store.health().dropped == 0


def _most_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
