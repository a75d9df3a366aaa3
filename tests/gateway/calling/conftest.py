from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.running import Gateway, config_for

from mixllm.config import Config
from mixllm.playback import PlaybackServer

POOL = ["atlas-large", "boreal-pro", "ember-mini"]


def _config(pool: PlaybackServer, store: Path, **sections: Any) -> Config:
    """Three LLMs; always the best score, and breakers that never open."""
    calls = {"breaker": {"enabled": False}, "retry_delay_s": 0.01, **sections.pop("calls", {})}
    return config_for(pool, store, POOL, calls=calls, routing={"policy": {"name": "greedy"}}, **sections)


@pytest.fixture(scope="module")
def shared(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(_config(pool, tmp_path_factory.mktemp("gateway") / "m.db")) as running:
        yield running


@pytest.fixture
def steady(shared: Gateway, playback: PlaybackServer) -> Gateway:
    """A gateway over three LLMs, healthy again after the test."""
    del playback
    return shared


@pytest.fixture
def own(playback: PlaybackServer, tmp_path: Path) -> Iterator[Gateway]:
    """The same, whose pool a test may change."""
    with Gateway(_config(playback, tmp_path / "m.db")) as running:
        yield running
