"""Back to an earlier checkpoint, by a running worker and in a store that nobody has open."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from tests.learning.learners import forecasts, same
from tests.learning.test_worker import FailingStore, Published, learner, worker
from tests.learning.world import World, fill

from mixllm.clock import ManualClock
from mixllm.errors import StateError, StoreError
from mixllm.interfaces import Store
from mixllm.learning import Checkpoint, LearningWorker, Snapshot
from mixllm.learning.rollback import RolledBack, roll_back_store
from mixllm.store import MemoryStore
from mixllm.types import LearnedState

X = World(1).encoding()


def poisoned(store: Store, published: list[Snapshot] | None = None) -> tuple[LearningWorker, int]:
    """Return a worker that knows something good, kept as the version returned, and then learned poison."""
    one = worker(store, published=published)
    fill(store, World(1), 20)
    one.catch_up()
    one.checkpoint()
    good = one.learner.version
    fill(store, World(2), 30, first=1_000)
    one.catch_up()
    return one, good


def checkpoint_of(store: Store, version: int) -> Checkpoint:
    state = store.load_state(version)
    assert state is not None
    return Checkpoint.from_bytes(state.payload)


def test_the_snapshot_is_swapped_and_the_poison_is_not_learned_again() -> None:
    store, published = MemoryStore(), Published()
    one, good = poisoned(store, published)
    before = forecasts(one.learner, X)
    poison = one.learner.version
    done = one.roll_back()
    assert (done.source, done.position) == (good, store.last_seq())
    assert same(one.learner.checkpoint(), checkpoint_of(store, good))
    assert published[-1].version >= done.version > poison
    assert forecasts(one.learner, X) != before
    assert one.catch_up() == 0
    restarted = worker(store)
    restarted.restore()
    assert same(restarted.learner.checkpoint(), checkpoint_of(store, good)), "also after a restart"
    assert restarted.learner.position == store.last_seq()


def test_what_comes_after_the_rollback_is_learned() -> None:
    store = MemoryStore()
    one, good = poisoned(store)
    one.roll_back(good)
    fill(store, World(3), 5, first=5_000)
    assert one.catch_up() == 10


def test_relearning_learns_the_events_since_then_again() -> None:
    store, published = MemoryStore(), Published()
    one, good = poisoned(store, published)
    before = one.learner.checkpoint()
    done = one.roll_back(good, relearn=True)
    assert done.position == checkpoint_of(store, good).position
    assert one.learner.position == store.last_seq()
    assert published[-1].position == store.last_seq()
    for name, array in one.learner.checkpoint().arrays.items():
        assert np.allclose(array, before.arrays[name], rtol=1e-9, atol=1e-9), name


def test_what_was_known_before_is_kept_in_quarantine_and_can_be_returned_to() -> None:
    store = MemoryStore()
    one, good = poisoned(store)
    before = one.learner.checkpoint()
    done = one.roll_back(good)
    (aside,) = done.quarantined
    assert list(store.state_versions()) == [good, done.version], "a restart must not fall back to the poison"
    reasons = {info.version: info.quarantined for info in store.states()}
    assert f"rolled back to version {good}" in str(reasons[aside])
    with pytest.raises(StateError, match=f"mixllm state release {aside}"):
        one.roll_back(aside)
    store.release_state(aside)
    one.roll_back(aside)
    assert same(one.learner.checkpoint(), before)


def test_each_rollback_goes_further_back() -> None:
    store = MemoryStore()
    one = worker(store)
    versions = []
    for number in range(3):
        fill(store, World(number), 5, first=1 + 100 * number)
        one.catch_up()
        one.checkpoint()
        versions.append(one.learner.version)
    assert [one.roll_back().source, one.roll_back().source] == [versions[1], versions[0]]
    with pytest.raises(StateError, match="no earlier checkpoint"):
        one.roll_back()


def test_the_pool_stays_as_it_is() -> None:
    store = MemoryStore()
    one, good = poisoned(store)
    one.learner.drop_llm("small")
    one.roll_back(good)
    assert one.learner.llms == ("middle", "large")


@pytest.mark.parametrize("to", [99, -1])
def test_an_unknown_version_is_refused(to: int) -> None:
    store = MemoryStore()
    one, good = poisoned(store)
    before = one.learner.checkpoint()
    with pytest.raises(StateError, match=f"no checkpoint of version {to}.*{good}"):
        one.roll_back(to)
    assert same(one.learner.checkpoint(), before)


def test_a_damaged_version_is_refused_and_left_out_of_the_choice() -> None:
    store = MemoryStore()
    one, good = poisoned(store)
    one.checkpoint()
    damaged = one.learner.version
    fill(store, World(4), 5, first=7_000)
    one.catch_up()
    store.save_state(LearnedState(version=damaged, position=1, created_at_s=0.0, payload=b"\0"))
    with pytest.raises(StateError, match="not a MixLLM state"):
        one.roll_back(damaged)
    assert one.roll_back().source == good


class FullDisk(FailingStore):
    """A store that keeps so many checkpoints and no more."""

    room = 99

    def save_state(self, state: LearnedState, *, announce: bool = False) -> None:
        if self.room == 0:
            raise StoreError("The disk is full. Make room.")
        self.room -= 1
        super().save_state(state, announce=announce)


def test_where_it_cannot_be_kept_nothing_changes() -> None:
    store, published = FullDisk(), Published()
    one, good = poisoned(store, published)
    before, count = one.learner.checkpoint(), len(published)
    store.room = 1  # For what is known now, and not for what is gone back to.
    with pytest.raises(StoreError, match="full"):
        one.roll_back(good)
    assert same(one.learner.checkpoint(), before)
    assert one.learner.position == before.position
    assert len(published) == count


def test_rolling_back_while_events_come_in_leaves_one_consistent_state() -> None:
    store, published = MemoryStore(), Published()
    one = worker(store, published=published)
    fill(store, World(1), 10)
    one.catch_up()
    one.checkpoint()
    good = one.learner.version
    one.start()
    done: list[RolledBack] = []

    def roll_back() -> None:
        done.extend(one.roll_back(good) for _ in range(5))

    threads = [threading.Thread(target=roll_back) for _ in range(3)]
    for thread in threads:
        thread.start()
    fill(store, World(2), 100, first=1_000)
    for thread in threads:
        thread.join()
    one.stop()
    assert len({each.version for each in done}) == 15, "a version never names two states"
    assert [snapshot.version for snapshot in published] == sorted({snapshot.version for snapshot in published})
    # What is known is the good state and every event after the last rollback, each once.
    last = max(done, key=lambda each: each.version)
    again = learner()
    again.restore(replace(checkpoint_of(store, last.version), position=last.position))
    again.learn(store.events_after(last.position, limit=10_000))
    for name, array in one.learner.checkpoint().arrays.items():
        assert np.allclose(array, again.checkpoint().arrays[name], rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize("relearn", [False, True])
def test_a_store_that_nobody_has_open(relearn: bool) -> None:
    store = MemoryStore()
    one, good = poisoned(store)
    one.stop()
    after = one.learner.checkpoint()
    done = roll_back_store(store, clock=ManualClock(start_s=9.0), relearn=relearn)
    assert (done.source, done.version) == (good, max(info.version for info in store.states()))
    assert done.quarantined
    restarted = worker(store)
    restarted.restore()
    wanted = after if relearn else checkpoint_of(store, good)
    for name, array in restarted.learner.checkpoint().arrays.items():
        assert np.allclose(array, wanted.arrays[name], rtol=1e-9, atol=1e-9), name
    assert restarted.learner.position == store.last_seq()
    assert restarted.learner.version > done.version - 1
