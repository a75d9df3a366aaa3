from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.running import KEY, Serving, pool_config

from mixllm.playback import AnswerBook, PlaybackServer, synthetic_log


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MIXLLM_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def pool() -> Iterator[PlaybackServer]:
    """Six LLMs that answer at once."""
    with PlaybackServer(AnswerBook(log=synthetic_log(queries=40, seed=5)), time_scale=0, keep_requests=4) as running:
        yield running


@pytest.fixture
def config_path(pool: PlaybackServer, tmp_path: Path) -> Path:
    """A configuration of its own for a test."""
    return pool_config(pool, tmp_path / "mixllm.yaml")


@pytest.fixture(scope="session")
def gateway(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A running gateway that asks for no key; its configuration is `gateway.arguments[2]`."""
    path = pool_config(pool, tmp_path_factory.mktemp("gateway") / "mixllm.yaml")
    with Serving(["serve", "--config", str(path)]) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A running gateway that asks for `KEY`."""
    keys = {"port": 0, "api_keys": ["os.environ/THE_KEY"]}
    path = pool_config(pool, tmp_path_factory.mktemp("guarded") / "mixllm.yaml", gateway=keys)
    with Serving(["serve", "--config", str(path)], env={"THE_KEY": KEY}) as running:
        yield running


@pytest.fixture(scope="session")
def empty(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A running gateway without any LLM."""
    path = pool_config(pool, tmp_path_factory.mktemp("empty") / "mixllm.yaml", model_list=[])
    with Serving(["serve", "--config", str(path)]) as running:
        yield running
