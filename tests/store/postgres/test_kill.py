"""Processes are killed while the database goes and comes; what they had acknowledged is there, once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.postgres_server import Server, running_server

from mixllm.store import PostgresStore

BURST = Path(__file__).parent / "burst.py"
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    with running_server() as server:
        yield server


class Burst:
    """A process that writes, and what it has said."""

    def __init__(self, server: Server, schema: str, spool: Path, prefix: str) -> None:
        command = [sys.executable, str(BURST), server.url, schema, str(spool), prefix]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.acknowledged: list[str] = []

    def read(self, count: int) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.acknowledged.append(line.strip())
            count -= 1
            if count <= 0:
                return

    def kill(self) -> None:
        self.process.kill()
        assert self.process.stdout is not None
        self.acknowledged += [line.strip() for line in self.process.stdout]
        self.process.wait()
        self.process.stdout.close()


def test_what_was_acknowledged_survives_kills_with_and_without_the_database(own_server: Server, tmp_path: Path) -> None:
    schema, spool = own_server.schema(), tmp_path / "spool"
    killed_before = Burst(own_server, schema, spool, "before")
    killed_during = Burst(own_server, schema, spool, "during")
    killed_before.read(100)
    killed_during.read(100)
    killed_before.kill()
    own_server.stop()
    killed_during.read(200)
    killed_during.kill()
    assert list(spool.glob("*.spool")), "what was acknowledged last is on the local disk"
    own_server.start()
    store = PostgresStore(url=own_server.url, schema=schema, spool=spool)
    try:
        deadline_s = time.monotonic() + PATIENCE_S
        while list(spool.glob("*.spool")) or store.health().spooled:
            assert time.monotonic() < deadline_s, "what was left is taken over and shipped"
            time.sleep(0.02)
        events = store.events_after(0, limit=10**6)
        judged = Counter(event.feedback.feedback_id for event in events if event.feedback is not None)
        acknowledged = [*killed_before.acknowledged, *killed_during.acknowledged]
        assert len(acknowledged) >= 400
        assert set(acknowledged) <= set(judged), "no acknowledged feedback is lost"
        assert set(judged.values()) == {1}, "none counts twice"
        assert [event.seq for event in events] == list(range(1, len(events) + 1)), "one order, without a gap"
        counts = store.counts()
        assert counts["feedback"] == len(judged)
        assert counts["outcomes"] == len(events) - len(judged)
    finally:
        store.close()


def test_many_may_start_at_once_on_an_empty_database(own_server: Server, tmp_path: Path) -> None:
    schema = own_server.schema()
    bursts = [Burst(own_server, schema, tmp_path / "spool", str(row)) for row in range(3)]
    for burst in bursts:
        burst.read(30)
        burst.kill()
    store = PostgresStore(url=own_server.url, schema=schema)
    try:
        seqs = [event.seq for event in store.events_after(0, limit=10**6)]
        assert seqs == list(range(1, len(seqs) + 1)), "one order, without a gap"
        assert store.counts()["feedback"] >= 90
    finally:
        store.close()
