from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.gateway.calling.ranking import STEADY, ranked_config
from tests.gateway.running import Gateway

from mixllm.playback import PlaybackServer


@pytest.fixture(scope="module")
def shared(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(ranked_config(pool, tmp_path_factory.mktemp("gateway") / "m.db", calls=STEADY)) as running:
        yield running


@pytest.fixture
def steady(shared: Gateway, playback: PlaybackServer) -> Gateway:
    """A gateway over three LLMs whose breakers never open, healthy again after the test."""
    del playback
    return shared


@pytest.fixture
def own(playback: PlaybackServer, tmp_path: Path) -> Iterator[Gateway]:
    """The same, whose pool a test may change."""
    with Gateway(ranked_config(playback, tmp_path / "m.db", calls=STEADY)) as running:
        yield running
