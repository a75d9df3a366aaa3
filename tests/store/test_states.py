"""Which checkpoints are kept: the newest, the last of each day, and whatever is in quarantine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mixllm.interfaces import Store
from mixllm.store import MemoryStore, SQLiteStore
from mixllm.types import LearnedState

DAY_S = 86_400.0

Make = Callable[..., Store]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def memory(**settings: int) -> Store:
        return MemoryStore(**settings)

    def sqlite(**settings: int) -> Store:
        return SQLiteStore(path=tmp_path / "m.db", **settings)

    return memory if request.param == "memory" else sqlite


def state(version: int, day: float) -> LearnedState:
    return LearnedState(version=version, position=version, created_at_s=day * DAY_S, payload=b"x" * version)


@pytest.mark.parametrize(
    ("newest", "daily", "expected"),
    [
        (2, 0, [11, 12]),
        (2, 1, [11, 12]),
        (2, 2, [9, 11, 12]),
        (2, 3, [6, 9, 11, 12]),
        (2, 9, [3, 6, 9, 11, 12]),
        (5, 2, [8, 9, 10, 11, 12]),
    ],
)
def test_the_newest_and_the_last_of_each_day(make: Make, newest: int, daily: int, expected: list[int]) -> None:
    store = make(keep_states=newest, keep_daily_states=daily)
    for version in range(1, 13):
        store.save_state(state(version, day=20_000 + (version - 1) // 3 + 0.25 * ((version - 1) % 3)))
    assert list(store.state_versions()) == expected
    store.close()


def test_what_is_quarantined_neither_counts_nor_goes(make: Make) -> None:
    store = make(keep_states=2, keep_daily_states=0)
    for version in range(1, 4):
        store.save_state(state(version, day=1))
    store.quarantine_state(3, "damaged")
    for version in range(4, 9):
        store.save_state(state(version, day=1))
    assert list(store.state_versions()) == [7, 8]
    assert [(info.version, info.size_bytes, info.quarantined) for info in store.states()] == [
        (3, 3, "damaged"),
        (7, 7, None),
        (8, 8, None),
    ]
    store.release_state(3)
    assert list(store.state_versions()) == [3, 7, 8]
    store.close()


def test_daily_checkpoints_out_of_range_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="keep_daily_states"):
        make(keep_daily_states=-1)
