from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from tests.gateway.running import Gateway, config_for

from mixllm.playback import AnswerBook, PlaybackServer, synthetic_log


@pytest.fixture(scope="session")
def book() -> AnswerBook:
    return AnswerBook(log=synthetic_log(queries=40, seed=5))


@pytest.fixture(scope="session")
def pool(book: AnswerBook) -> Iterator[PlaybackServer]:
    """Six LLMs that answer at once."""
    with PlaybackServer(book, time_scale=0, keep_requests=64) as running:
        yield running


@pytest.fixture
def playback(pool: PlaybackServer) -> Iterator[PlaybackServer]:
    """The same, healthy again after the test."""
    yield pool
    for llm in pool.book.llms:
        pool.put_faults(llm)


@pytest.fixture(scope="module")
def gateway(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway over the six LLMs, open to everybody on this machine, that calls once for each request.

    A refusal of one test is over in the next.
    """
    calls = {"max_attempts": 1, "breaker": {"enabled": False}}
    path = tmp_path_factory.mktemp("gateway") / "mixllm.db"
    with Gateway(config_for(pool, path, calls=calls, routing={"max_cooldown_s": 1e-6})) as running:
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, that does not try again."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0, timeout=20) as opened:
        yield opened
