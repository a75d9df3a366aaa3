from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from mixllm.logs import RoutingLog
from mixllm.playback import AnswerBook, PlaybackServer, synthetic_log


@pytest.fixture(scope="session")
def log() -> RoutingLog:
    """A small log of everything."""
    return synthetic_log(queries=40, seed=5)


@pytest.fixture(scope="session")
def book(log: RoutingLog) -> AnswerBook:
    return AnswerBook(log=log)


@pytest.fixture
def server(book: AnswerBook) -> Iterator[PlaybackServer]:
    """A server that answers at once and keeps its requests."""
    with PlaybackServer(book, time_scale=0, keep_requests=4) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session
