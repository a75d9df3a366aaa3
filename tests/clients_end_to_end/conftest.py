"""A real gateway over a real playback server, for other people's clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.gateway.running import Gateway, config_for

from mixllm.playback import AnswerBook, PlaybackServer, synthetic_log


@pytest.fixture(scope="session")
def answers() -> AnswerBook:
    return AnswerBook(log=synthetic_log(queries=20, seed=7))


@pytest.fixture(scope="session")
def endpoint(answers: AnswerBook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that asks for the key ``sk-test``."""
    with PlaybackServer(answers, time_scale=0, keep_requests=8) as pool:
        store = tmp_path_factory.mktemp("clients") / "mixllm.db"
        with Gateway(config_for(pool, store, gateway={"api_keys": ["sk-test"]})) as running:
            yield running
