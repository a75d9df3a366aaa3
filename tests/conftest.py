"""What every test shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.postgres_server import Server, running_server

# The same examples on every run, and no deadline: a machine under load is no fault.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, one for each process that runs tests; it takes some seconds to start."""
    with running_server() as server:
        yield server
