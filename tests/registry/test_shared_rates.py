"""Buckets that processes share: nothing is counted twice or forgotten, and no file makes a request fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mixllm.clock import ManualClock, SystemClock
from mixllm.gateway.rate import RequestRate
from mixllm.registry import SharedRates

pytestmark = pytest.mark.skipif(os.name != "posix", reason="it needs POSIX's reads and writes at a place, and locks")

ADMIT = """
import sys, time
from pathlib import Path
from mixllm.clock import SystemClock
from mixllm.gateway.rate import RequestRate
from mixllm.registry import SharedRates
rate = RequestRate(limit=300, clock=SystemClock(), level=SharedRates(path=Path(sys.argv[1])).level("key-a"))
print("ready", flush=True)
sys.stdin.readline()
print(sum(rate.take().admitted for _ in range(2000)))
"""


def rate_at(path: Path, *, name: str = "key-a", limit: int = 3, clock: ManualClock | None = None) -> RequestRate:
    level = SharedRates(path=path).level(name)
    return RequestRate(limit=limit, clock=clock or ManualClock(), level=level)


def test_processes_admit_together_what_the_limit_allows(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ADMIT, str(tmp_path / "rates")]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    started_s = time.monotonic()
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    admitted = [int(one.communicate(timeout=60)[0]) for one in running]
    took_s = time.monotonic() - started_s
    assert 300 <= sum(admitted) <= 300 * (1 + took_s / 60) + 1
    assert all(one.returncode == 0 for one in running)


def test_what_one_admits_the_other_lacks_until_time_gives_it_back(tmp_path: Path) -> None:
    clock = ManualClock()
    first, second = (rate_at(tmp_path / "rates", clock=clock) for _ in range(2))
    assert [first.take().remaining, second.take().remaining, first.take().remaining] == [2, 1, 0]
    refused = second.take()
    assert not refused.admitted
    assert refused.retry_after_s == pytest.approx(20.0)
    clock.advance(20.0)
    assert second.take().admitted
    assert not first.take().admitted
    assert rate_at(tmp_path / "rates", name="key-b", clock=clock).take().remaining == 2, "each key has its own"


def test_a_process_that_is_started_again_does_not_get_a_full_bucket(tmp_path: Path) -> None:
    for _ in range(3):
        assert rate_at(tmp_path / "rates").take().admitted
    assert not rate_at(tmp_path / "rates").take().admitted


@pytest.mark.parametrize("clock_s", [5.0, 1e9])
def test_a_number_of_another_boot_holds_nobody_back(tmp_path: Path, clock_s: float) -> None:
    clock = ManualClock()
    clock.advance(1e6)
    before = rate_at(tmp_path / "rates", clock=clock)
    while before.take().admitted:
        pass
    clock = ManualClock()
    clock.advance(clock_s)
    after = rate_at(tmp_path / "rates", clock=clock)
    assert [after.take().admitted for _ in range(4)] == [True, True, True, False]


def test_names_that_fall_on_one_row_are_apart(tmp_path: Path) -> None:
    rates = SharedRates(path=tmp_path / "rates")
    levels = {name: rates.level(f"key-{name}") for name in range(2000)}  # Of 16,384 rows: some meet.
    assert len({level._at for level in levels.values() if level is not None}) == 2000
    again = SharedRates(path=tmp_path / "rates")
    assert all(
        one is not None and other is not None and one._at == other._at
        for name, one in levels.items()
        for other in [again.level(f"key-{name}")]
    )


@pytest.mark.parametrize("content", [b"", b"something else", b"\0" * 524_352])
def test_a_damaged_file_is_made_anew(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rates"
    path.write_bytes(content)
    first, second = rate_at(path), rate_at(path)
    assert [first.take().remaining, second.take().remaining] == [2, 1]
    assert "is made anew" in caplog.text


def test_where_there_is_no_such_file_each_process_counts_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (rate_at(tmp_path / "no folder" / "rates") for _ in range(2))
    assert [first.take().remaining, second.take().remaining] == [2, 2]
    assert "not shared" in caplog.text


def test_a_file_that_is_cut_short_fails_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rate = rate_at(tmp_path / "rates")
    assert rate.take().admitted
    os.truncate(tmp_path / "rates", 10)
    assert [rate.take().admitted for _ in range(3)] == [True, True, False], "it goes on with what it knows"
    assert caplog.text.count("not shared") == 1
    assert (tmp_path / "rates").stat().st_size == 10


def test_who_holds_the_lock_and_does_not_go_on_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "rates"
    rate = rate_at(path)
    holder = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.lockf(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", holder, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "held\n"
        assert [rate.take().admitted for _ in range(4)] == [True, True, True, False]
        one.communicate("go\n", timeout=30)


def test_the_file_names_no_key(tmp_path: Path) -> None:
    rate = RequestRate(limit=2, clock=SystemClock(), level=SharedRates(path=tmp_path / "rates").level("key-secret"))
    rate.take()
    content = (tmp_path / "rates").read_bytes()
    assert b"secret" not in content
    assert (tmp_path / "rates").stat().st_mode & 0o777 == 0o600


def test_after_its_end_nothing_is_written_under_a_number_that_another_file_may_have(tmp_path: Path) -> None:
    rates = SharedRates(path=tmp_path / "rates")
    rate = RequestRate(limit=2, clock=ManualClock(), level=rates.level("key-a"))
    assert rate.take().remaining == 1
    rates.close()
    with (tmp_path / "another").open("wb+") as another:
        assert [rate.take().admitted for _ in range(2)] == [True, False], "it goes on with what it knows"
        assert another.read() == b""
