"""Restarts and crashes: what was learned and who is in the pool is still there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.small_router import (
    SPECS,
    TAGS,
    assert_alike,
    configured,
    expectations,
    small_router,
    spec,
    teach,
)

from mixllm import Router, SQLiteStore
from mixllm.config import (
    TagsConfig,
)

pytestmark = pytest.mark.usefixtures("standing_clock")

BOUNDED: dict[str, Any] = {"max_cost_ratio": 3.5, "min_quality": 0.25}


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


def test_a_restart_goes_on_with_what_was_learned(tmp_path: Path) -> None:
    """LiteLLM's learned state is lost at a restart, and nobody notices."""
    config = configured(tmp_path / "r.db")
    with Router.from_config(config) as router:
        teach(router)
        expected, version = expectations(router), router.snapshot.version
    with Router.from_config(config) as router:
        assert_alike(expectations(router), expected)
        assert router.snapshot.version > version
        assert router.learner.counts.outcomes == 0, "from the checkpoint, not from all events again"
        teach(router, 30, first=60)
        expected = expectations(router)
    with Router.from_config(config) as router:
        assert_alike(expectations(router), expected)


def test_after_a_crash_everything_durable_is_learned_again(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    crashed = small_router(store=SQLiteStore(path=path))
    crashed.add_llm(spec("guest", 2.0))
    teach(crashed)
    crashed.remove_llm("guest")
    expected = expectations(crashed)
    shutil.copytree(tmp_path, tmp_path / "copy")  # What the disk holds when the process is killed.
    crashed.close()
    with small_router(store=SQLiteStore(path=tmp_path / "copy" / "r.db")) as router:
        assert len(router.store.state_versions()) == 1, "kept when the guest joined, before anything was learned"
        assert router.learner.counts.outcomes == router.learner.counts.feedback == 60
        assert_alike(expectations(router), expected)


def test_changes_of_the_pool_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with small_router(store=SQLiteStore(path=path)) as router:
        router.add_llm(spec("guest", 2.0, max_in_flight=3))
        teach(router)
        router.remove_llm("small")
        expected = expectations(router)
    with small_router(store=SQLiteStore(path=path)) as router:
        assert [one.name for one in router.llms] == ["middle", "large", "guest"]
        assert router.llm("guest").max_in_flight == 3
        assert_alike(expectations(router), expected)
        router.add_llm(SPECS[0])
        router.remove_llm("guest")
    with small_router(store=SQLiteStore(path=path)) as router:
        assert {one.name for one in router.llms} == {"small", "middle", "large"}


@pytest.mark.parametrize("crash", [False, True], ids=["closed", "crashed"])
def test_an_llm_that_returns_after_a_restart_is_what_it_was(tmp_path: Path, crash: bool) -> None:
    path = tmp_path / "r.db"
    first = small_router(store=SQLiteStore(path=path))
    first.add_llm(spec("guest", 2.0))
    teach(first)
    expected = expectations(first)
    first.remove_llm("guest")
    first.store.flush()
    if crash:
        shutil.copytree(tmp_path, tmp_path / "copy")
        path = tmp_path / "copy" / "r.db"
    first.close()
    with small_router(store=SQLiteStore(path=path)) as router:
        assert "guest" not in {one.name for one in router.llms}
        router.add_llm(spec("guest", 2.0))
        assert_alike(expectations(router), expected)


def test_other_tags_learn_anew_from_the_same_store(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with small_router(store=SQLiteStore(path=path)) as router:
        teach(router)
    other = TagsConfig(domains=TAGS.domains[:2], projection_dimension=5)
    with small_router(store=SQLiteStore(path=path), tags=other) as router:
        assert router.learner.counts.feedback == 60
        assert router.learner.counts.refused == 0
    with small_router(store=SQLiteStore(path=path)) as router:
        assert sum(router.snapshot.judgements) == 60.0
