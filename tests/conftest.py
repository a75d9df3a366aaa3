"""What every test shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.postgres_server import Server, running_server

from mixllm.clock import ManualClock

# The same examples on every run, and no deadline: a machine under load is no fault.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, one for each process that runs tests; it takes some seconds to start."""
    with running_server() as server:
        yield server


@pytest.fixture
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time stand still for routers that are given no clock: what is expected of the next seconds fades with it."""
    monkeypatch.setattr("mixllm.assembly.SystemClock", lambda: ManualClock(start_s=1.7e9))
