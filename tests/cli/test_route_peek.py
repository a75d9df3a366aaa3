"""`Router.peek`, which ``mixllm route`` decides with."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from mixllm.assembly import Router
from mixllm.config import Config, StoreConfig, load_config
from mixllm.errors import StoreError
from mixllm.types import LLMSpec, Price

QUESTION = "Name a colour of the rainbow."


@pytest.fixture
def config(config_path: Path) -> Config:
    return load_config(config_path)


def content(config: Config) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(config.store.path)) as store:
        rows = store.execute("SELECT decision_id FROM decisions").fetchall()
        rows += store.execute("SELECT event_id FROM events").fetchall()
        rows += store.execute("SELECT version, position FROM states").fetchall()
        return rows + store.execute("SELECT llm FROM pool_changes").fetchall()


def test_it_forecasts_as_the_stores_own_router_and_leaves_the_store_as_it_was(config: Config) -> None:
    with Router.from_config(config, seed=1) as router:
        router.feedback(router.route(QUESTION, expect_outcome=False).decision_id, quality=0.1)
        price = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=1)
        router.add_llm(LLMSpec(name="late", price=price))
        router.learn()
        expected = router.route(QUESTION, expect_outcome=False)
        router.store.flush()
        before = content(config)
        # The store is in use all the while.
        with Router.peek(config, seed=1) as peeking:
            seen = peeking.route(QUESTION)
            assert "late" in {spec.name for spec in peeking.llms}
            peeking.feedback(seen.decision_id, thumbs=True)
            peeking.add_llm(LLMSpec(name="for-a-look", price=price))
        assert content(config) == before
    assert {candidate.llm: candidate.score for candidate in seen.candidates} == pytest.approx(
        {candidate.llm: candidate.score for candidate in expected.candidates}
    )


def test_it_learns_for_itself(config: Config) -> None:
    with Router.from_config(config) as router:
        router.feedback(router.route(QUESTION, expect_outcome=False).decision_id, quality=0.1)
    with Router.peek(config) as peeking:
        first = peeking.route(QUESTION)
        peeking.feedback(first.decision_id, quality=1.0)
        peeking.learn()  # or the background has
        second = peeking.route(QUESTION)
    judged = {candidate.llm: candidate.forecast.judgements for candidate in second.candidates}
    assert judged[first.llm] == pytest.approx(first.chosen.forecast.judgements + 1)
    assert second.model_version > first.model_version


def test_a_store_that_is_not_there_is_not_made(config: Config) -> None:
    with Router.peek(config) as peeking:
        assert peeking.route(QUESTION).llm
    assert not Path(config.store.path).exists()


def test_a_store_in_memory_has_nothing_to_know(config: Config) -> None:
    with Router.peek(msgspec.structs.replace(config, store=StoreConfig(kind="memory"))) as peeking:
        assert {candidate.forecast.judgements for candidate in peeking.route(QUESTION).candidates} == {0.0}


def test_a_store_that_cannot_be_read_is_an_error(config: Config) -> None:
    Path(config.store.path).write_text("notes " * 30)
    with pytest.raises(StoreError, match="is no SQLite database"):
        Router.peek(config)
