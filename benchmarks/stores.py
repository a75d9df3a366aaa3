"""How many facts a second one store takes, how soon feedback is acknowledged, and how soon others hear of it.

    python -m benchmarks.stores [--decisions 20000] [--rounds 3]

Both stores in one run, in turns, on the same disk; the PostgreSQL server is started from a wheel with its own defaults
(``synchronous_commit`` on). A decision has eleven candidates, 512 floats of encoding, an outcome, and every tenth one a
feedback.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.measuring import store as keep
from benchmarks.measuring import summary_ms
from mixllm.conformance.store_samples import sample_feedback, sample_outcome, sample_record
from mixllm.interfaces import Store
from mixllm.store import PostgresStore, SQLiteStore
from mixllm.types import DecisionRecord

_IN_FLIGHT = 4_000
"""No more decisions wait to be committed: the queue must not drop any."""
_PROCESSES = 3


def main() -> None:
    from tests.postgres_server import running_server

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rates: dict[str, list[float]] = {"sqlite": [], "postgres": [], f"postgres, {_PROCESSES} processes": []}
    waits: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        for round_ in range(arguments.rounds):
            path, schema = Path(folder) / f"{round_}.db", f"rates_{round_}"
            rates["sqlite"].append(_rate(lambda path=path: SQLiteStore(path=path), arguments.decisions))  # type: ignore[misc]
            one = lambda schema=schema: PostgresStore(url=server.url, schema=schema)  # noqa: E731
            rates["postgres"].append(_rate(one, arguments.decisions))
            several = f"several_{round_}"
            rates[f"postgres, {_PROCESSES} processes"].append(_shared_rate(server.url, several, arguments.decisions))
        waits["sqlite"] = _waits(lambda: SQLiteStore(path=Path(folder) / "waits.db"))
        waits["postgres"] = _waits(lambda: PostgresStore(url=server.url, schema="waits"))
    result = {
        "facts_per_s": {name: [round(rate) for rate in found] for name, found in rates.items()},
        "waits": waits,
        "decisions": arguments.decisions,
    }
    path = keep("stores", result, command=f"python -m benchmarks.stores --decisions {arguments.decisions}")
    print(path.read_text())


def full_record(number: int, *, prefix: str = "d") -> DecisionRecord:
    """Return a decision among eleven candidates, with an encoding of 512 floats."""
    plain = sample_record(number)
    candidates = tuple(msgspec.structs.replace(plain.decision.candidates[0], llm=f"llm-{row}") for row in range(11))
    decision = msgspec.structs.replace(
        plain.decision, decision_id=f"{prefix}{number:08d}", candidates=candidates, reason="best score"
    )
    encoding = np.random.default_rng(number).normal(size=512).astype("<f4").tobytes()
    return msgspec.structs.replace(plain, decision=decision, encoding=encoding)


def _rate(open_store: Callable[[], Store], decisions: int, *, prefix: str = "d") -> float:
    """Return how many facts a second are committed."""
    records = [full_record(number, prefix=prefix) for number in range(decisions)]
    store = open_store()
    started_s = time.perf_counter()
    facts = 0
    for number, record in enumerate(records):
        store.append_decision(record)
        store.append_outcome(sample_outcome(record))
        facts += 2
        if number % 10 == 0:
            store.append_feedback(sample_feedback(record, record.decision.decision_id))
            facts += 1
        if number % _IN_FLIGHT == 0:
            store.flush()
    store.flush()
    took_s = time.perf_counter() - started_s
    assert store.health().dropped == 0
    store.close()
    return facts / took_s


def _child(url: str, schema: str, decisions: int, row: int, start: Any, rates: Any) -> None:
    start.wait()
    rates.put(_rate(lambda: PostgresStore(url=url, schema=schema), decisions, prefix=f"{row}-"))


def _shared_rate(url: str, schema: str, decisions: int) -> float:
    """Return how many facts a second several processes commit together."""
    context = multiprocessing.get_context("spawn")
    start, rates = context.Event(), context.Queue()
    children = [
        context.Process(target=_child, args=(url, schema, decisions // _PROCESSES, row, start, rates))
        for row in range(_PROCESSES)
    ]
    for child in children:
        child.start()
    start.set()
    found = [rates.get() for _ in children]
    for child in children:
        child.join()
    return float(sum(found))


def _waits(open_store: Callable[[], Store], repeats: int = 300) -> dict[str, Any]:
    """Return how long a feedback waits for its acknowledgement, and until another process could learn from it."""
    ours, others = open_store(), open_store()
    acknowledged, heard = [], []
    for number in range(repeats):
        record = full_record(number)
        ours.append_decision(record)
        seen = threading.Event()
        last = others.last_seq()

        def listen(last: int = last, seen: threading.Event = seen) -> None:
            if others.wait_for_events(last, timeout_s=10.0):
                seen.set()

        thread = threading.Thread(target=listen)
        thread.start()
        started_s = time.perf_counter()
        ours.append_feedback(sample_feedback(record, f"f{number}")).result()
        acknowledged.append(time.perf_counter() - started_s)
        seen.wait(10.0)
        heard.append(time.perf_counter() - started_s)
        thread.join()
    ours.close()
    others.close()
    return {"feedback acknowledged, ms": summary_ms(acknowledged), "heard by another, ms": summary_ms(heard)}


if __name__ == "__main__":
    main()
