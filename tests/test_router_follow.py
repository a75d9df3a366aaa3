"""Two routers on one store: each sees what the other does to the pool."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.small_router import small_router, spec

from mixllm.errors import DuplicateLLMError
from mixllm.store import SQLiteStore


def names(router: object) -> list[str]:
    return sorted(one.name for one in router.llms)  # type: ignore[attr-defined]


def test_changes_of_the_pool_are_followed_once(tmp_path: Path) -> None:
    with (
        small_router(store=SQLiteStore(path=tmp_path / "m.db")) as one,
        small_router(store=SQLiteStore(path=tmp_path / "m.db")) as two,
    ):
        before = names(one)
        one.add_llm(spec("late", 2.0))
        assert names(two) == before
        assert two.follow() == 1
        assert names(two) == sorted([*before, "late"])
        assert one.follow() == two.follow() == 0
        with pytest.raises(DuplicateLLMError):
            two.add_llm(spec("late", 2.0))
        two.update_llm(spec("late", 5.0))
        assert one.follow() == 1
        assert one.llm("late").price == two.llm("late").price
        one.remove_llm("late")
        assert two.follow() == 1
        assert names(two) == before
        two.remove_llm(before[0])
        assert one.follow() == 1
        assert names(one) == before[1:]
        assert one.route("hi").llm in before[1:]


def test_both_learn_what_either_hears(tmp_path: Path) -> None:
    with (
        small_router(store=SQLiteStore(path=tmp_path / "m.db")) as one,
        small_router(store=SQLiteStore(path=tmp_path / "m.db")) as two,
    ):
        for number in range(10):
            decision = one.route(f"question {number}")
            one.store.flush()
            two.feedback(decision.decision_id, thumbs=True)
        one.learn()
        two.learn()
        assert one.snapshot.judgements == two.snapshot.judgements
        assert sum(one.snapshot.judgements) == 10
