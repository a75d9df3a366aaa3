"""Several processes that see one picture."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixllm.clock import SystemClock
from mixllm.registry import SharedTraffic, Traffic, can_share
from mixllm.types import LLMSpec

pytestmark = pytest.mark.skipif(not can_share(), reason="needs POSIX")

SPECS = (LLMSpec(name="a", requests_per_minute=3), LLMSpec(name="b"))

OTHER = """
import sys
from pathlib import Path
from mixllm.clock import SystemClock
from mixllm.registry import SharedTraffic, Traffic
traffic = Traffic(clock=SystemClock())
shared = SharedTraffic(path=Path(sys.argv[1]), counts=traffic.in_flight.counts, llms=lambda: ["b", "a"], beat_s=0.05)
traffic.share(shared)
for number in range(2):
    traffic.start(str(number), "a", tokens=10)
traffic.refused("b", 30)
print("ready", flush=True)
for line in sys.stdin:
    if line == "finish\\n":
        traffic.finish("0")
    elif line == "close\\n":
        shared.close()
    print("done", flush=True)
"""


class Peer:
    """Another process, with two calls of `a` under way, whose `b` has asked to wait."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@contextlib.contextmanager
def peer(path: Path) -> Iterator[Peer]:
    made = Peer(path)
    try:
        yield made
    finally:
        made.end()


@contextlib.contextmanager
def joined(path: Path) -> Iterator[tuple[Traffic, SharedTraffic]]:
    traffic = Traffic(clock=SystemClock())
    shared = SharedTraffic(path=path, counts=traffic.in_flight.counts, llms=lambda: ["a", "b"], beat_s=0.05)
    traffic.share(shared)
    try:
        yield traffic, shared
    finally:
        shared.close()


def eventually(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


def test_calls_limits_and_cooldowns_of_another_process_are_seen(tmp_path: Path) -> None:
    with joined(tmp_path / "t") as (traffic, shared), peer(tmp_path / "t") as other:
        assert eventually(lambda: shared.workers == 2)
        assert traffic.counts() == {"a": 2}
        traffic.start("x", "a")
        assert traffic.counts() == {"a": 3}
        holds = traffic.holds(SPECS, tokens=1.0)
        assert holds is not None
        assert [hold.reason[:40] for hold in holds if hold] == [
            "rate limit of 3 requests/min is used up,",
            "its endpoint refused and asked to wait, ",
        ]
        other.tell("finish")
        assert traffic.counts() == {"a": 2}


@pytest.mark.parametrize("kill", [True, False])
def test_a_process_that_ends_takes_its_calls_along_and_not_its_last_minute(tmp_path: Path, kill: bool) -> None:
    with joined(tmp_path / "t") as (traffic, shared), peer(tmp_path / "t") as other:
        assert eventually(lambda: traffic.counts() == {"a": 2})
        if kill:
            other.process.send_signal(signal.SIGKILL)
            other.process.wait()
        else:
            other.tell("close")
        assert eventually(lambda: shared.workers == 1)
        assert traffic.counts() == {}
        traffic.start("x", "a")
        holds = traffic.holds(SPECS, tokens=1.0)
        assert holds is not None
        assert all(holds)


def test_what_a_process_did_alone_is_told_to_one_that_joins(tmp_path: Path) -> None:
    with joined(tmp_path / "t") as (one, first):
        assert first.workers == 1
        for number in range(3):
            one.start(str(number), "a", tokens=1.0)
        with joined(tmp_path / "t") as (two, _):
            assert eventually(lambda: two.counts() == {"a": 3})
            assert eventually(lambda: two.holds(SPECS, tokens=1.0) is not None)


def test_slots_are_used_again(tmp_path: Path) -> None:
    for _ in range(70):
        with joined(tmp_path / "t") as (_, shared):
            assert shared.workers == 1
    with joined(tmp_path / "t") as (one, first), joined(tmp_path / "t") as (two, _):
        assert eventually(lambda: first.workers == 2)
        one.start("1", "a")
        assert two.counts() == {"a": 1}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"nonsense" * 1000),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(np.random.default_rng(1).bytes(path.stat().st_size)),
        lambda path: os.truncate(path, 100),
    ],
)
def test_a_damaged_file_is_made_anew_while_decisions_go_on(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / "t"
    with joined(path) as (one, first), joined(path) as (two, second):
        assert eventually(lambda: first.workers == second.workers == 2)
        one.start("1", "a")
        one.refused("b", 40.0)
        damage(path)
        for number in range(20):
            two.start(f"x{number}", "b")
            two.counts()
            two.holds(SPECS, tokens=1.0)
            two.finish(f"x{number}")
        assert eventually(lambda: first.workers == second.workers == 2)
        assert eventually(lambda: two.counts() == {"a": 1})
        holds = two.holds(SPECS, tokens=1.0)
        assert holds is not None
        assert holds[1] is not None
        assert 30 < holds[1].wait_s <= 40


def test_a_file_that_cannot_be_made_is_said_and_hurts_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with joined(tmp_path / "missing" / "t") as (traffic, shared):
        traffic.start("1", "a")
        assert traffic.counts() == {"a": 1}
        assert shared.workers == 1
    assert "traffic is not shared" in caplog.text
    assert len(caplog.records) == 1


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 500_000), content=st.binary(min_size=1, max_size=400))
def test_no_content_breaks_a_decision(tmp_path: Path, at: int, content: bytes) -> None:
    path = tmp_path / "t"
    with joined(path) as (one, first), joined(path) as (two, _):
        one.start("1", "a")
        with path.open("r+b") as file:
            file.seek(at)
            file.write(content)
        counts = two.counts()
        assert all(0 <= count < 2e6 for count in counts.values())
        holds = two.holds(SPECS, tokens=1.0)
        assert all(hold is None or 0 < hold.wait_s <= 61.0 for hold in holds or ())
        first.beat()
