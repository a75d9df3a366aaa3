"""The worker: live, after a restart and from checkpoints it is the same learning; and a failing store is borne."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from tests.learning.world import DIMENSION, SPECS, PlainFeatures, World, fill

from mixllm.clock import ManualClock, SystemClock
from mixllm.errors import InvalidValueError, StoreError
from mixllm.interfaces import Clock, Store
from mixllm.learning import Checkpoint, Learner, LearningWorker, Snapshot
from mixllm.store import MemoryStore
from mixllm.types import LearnedState, LearningEvent

PATIENCE_S = 10.0


def learner(*, fingerprint: str = "plain/1") -> Learner:
    return Learner(features=PlainFeatures(fingerprint=fingerprint), encoding_dimension=DIMENSION, specs=SPECS)


class Published(list[Snapshot]):
    """What was published, in order."""


def worker(
    store: Store,
    made: Learner | None = None,
    *,
    published: list[Snapshot] | None = None,
    clock: Clock | None = None,
    checkpoint_interval_s: float = 30.0,
) -> LearningWorker:
    return LearningWorker(
        store=store,
        learner=made or learner(),
        publish=(Published() if published is None else published).append,
        clock=clock or SystemClock(),
        min_publish_interval_s=0.0,
        checkpoint_interval_s=checkpoint_interval_s,
    )


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never happens"
        time.sleep(0.002)


def reach(one: LearningWorker, position: int) -> None:
    eventually(lambda: one.learner.position == position)


def assert_learned_alike(one: Learner, other: Learner) -> None:
    mine, theirs = one.checkpoint(), other.checkpoint()
    assert mine.llms == theirs.llms
    assert mine.position == theirs.position
    assert mine.arrays.keys() == theirs.arrays.keys()
    for name, array in mine.arrays.items():
        assert np.allclose(array, theirs.arrays[name], rtol=1e-9, atol=1e-12), name


def test_parameters_reach_their_attributes() -> None:
    store, made, clock, published = MemoryStore(), learner(), ManualClock(), Published()
    publish = published.append
    one = LearningWorker(
        store=store,
        learner=made,
        publish=publish,
        clock=clock,
        min_publish_interval_s=0.7,
        checkpoint_interval_s=7.0,
        stalled_after_s=17.0,
    )
    assert one.stalled_after_s == 17.0
    assert (one.store, one.learner, one.clock) == (store, made, clock)
    assert one.publish == publish
    assert (one.min_publish_interval_s, one.checkpoint_interval_s) == (0.7, 7.0)
    assert not one.running


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_publish_interval_s", -1.0),
        ("checkpoint_interval_s", 0.0),
        ("checkpoint_interval_s", float("nan")),
        ("stalled_after_s", 0.0),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=f"^{name} must be"):
        LearningWorker(
            store=MemoryStore(), learner=learner(), publish=Published().append, clock=ManualClock(), **{name: value}
        )


def test_catching_up_learns_everything_once_and_publishes() -> None:
    store, published = MemoryStore(), Published()
    one = worker(store, published=published)
    assert one.catch_up() == 0
    assert published == []
    fill(store, World(1), 700)  # More than two batches.
    assert one.catch_up() == 1_400
    assert one.catch_up() == 0
    assert [snapshot.position for snapshot in published] == [1_400]
    assert one.learner.counts.outcomes == one.learner.counts.feedback == 700


# --- live, restarted, from checkpoints --------------------------------------------------------------------------------


def live(store: Store, *, rounds: int, checkpoints: Sequence[int] = ()) -> LearningWorker:
    """Learn in the background while events come in; keep checkpoints after these rounds."""
    world, one = World(2), worker(store)
    one.restore()
    one.start()
    for number in range(rounds):
        fill(store, world, 20, first=1 + 20 * number)
        if number in checkpoints:
            reach(one, 40 * (number + 1))
            one.learner.snapshot()
            one.checkpoint()
    reach(one, 40 * rounds)
    return one


@pytest.mark.parametrize("checkpoints", [(), (2,), (1, 3), (5,)], ids=["none", "one", "two", "the last"])
def test_live_learning_equals_learning_after_a_restart(checkpoints: tuple[int, ...]) -> None:
    store = MemoryStore()
    running = live(store, rounds=6, checkpoints=checkpoints)
    published = Published()
    restarted = worker(store, published=published)
    restarted.restore()
    assert_learned_alike(restarted.learner, running.learner)
    assert len(store.state_versions()) == len(checkpoints)
    replayed = restarted.learner.counts.outcomes + restarted.learner.counts.feedback
    assert replayed == 240 - 40 * (max(checkpoints) + 1 if checkpoints else 0), "only what came after it"
    running.stop()


def test_a_corrupt_newest_checkpoint_gives_way_to_the_older_one(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    running = live(store, rounds=4, checkpoints=(0, 2))
    newest = store.load_state()
    assert newest is not None
    payload = bytearray(newest.payload)
    payload[len(payload) // 2] ^= 0x10
    store.save_state(
        LearnedState(version=newest.version, position=newest.position, created_at_s=0.0, payload=bytes(payload))
    )
    restarted = worker(store)
    with caplog.at_level(logging.ERROR):
        restarted.restore()
    assert f"checkpoint {newest.version} is unusable" in caplog.text
    assert_learned_alike(restarted.learner, running.learner)
    assert restarted.learner.counts.outcomes + restarted.learner.counts.feedback == 160 - 40
    running.stop()


def test_where_every_checkpoint_is_corrupt_all_is_learned_again() -> None:
    store = MemoryStore()
    running = live(store, rounds=3, checkpoints=(0, 1))
    for version in list(store.state_versions()):
        store.save_state(LearnedState(version=version, position=40, created_at_s=0.0, payload=b"\0"))
    restarted = worker(store)
    restarted.restore()
    assert_learned_alike(restarted.learner, running.learner)
    assert restarted.learner.counts.outcomes == 60
    running.stop()


def test_checkpoints_of_other_features_are_left_out() -> None:
    store = MemoryStore()
    running = live(store, rounds=2, checkpoints=(1,))
    restarted = worker(store, learner(fingerprint="plain/2"))
    restarted.restore()
    assert restarted.learner.counts.outcomes == 40
    assert restarted.learner.snapshot().version > running.learner.version
    running.stop()


def test_versions_never_name_two_states() -> None:
    store = MemoryStore()
    seen: set[int] = set()
    for _ in range(3):
        one = worker(store)
        one.restore()
        fill(store, World(3), 5, first=1 + 1_000 * len(seen))
        one.catch_up()
        version = one.learner.version
        assert version not in seen
        seen.add(version)
        one.checkpoint()
    assert list(store.state_versions()) == sorted(seen)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_kept_only_where_something_was_learned() -> None:
    store = MemoryStore()
    one = worker(store)
    one.checkpoint()
    assert list(store.state_versions()) == []
    fill(store, World(4), 3)
    one.catch_up()
    one.checkpoint()
    one.checkpoint()
    assert len(store.state_versions()) == 1
    one.checkpoint(always=True)
    assert len(store.state_versions()) == 1, "the same version again"
    state = store.load_state()
    assert state is not None
    assert (state.position, state.version) == (6, one.learner.version)
    assert Checkpoint.from_bytes(state.payload).position == 6


def test_checkpoints_are_timed_by_the_clock() -> None:
    store, clock = MemoryStore(), ManualClock(start_s=1_000.0)
    one = worker(store, clock=clock, checkpoint_interval_s=60.0)
    one.start()
    fill(store, World(4), 3)
    reach(one, 6)
    assert list(store.state_versions()) == []
    clock.advance(60.0)
    fill(store, World(4), 1, first=10)  # Something to wake up for.
    eventually(lambda: len(store.state_versions()) == 1)
    state = store.load_state()
    assert state is not None
    assert state.created_at_s == 1_060.0
    one.stop()


def test_stopping_learns_what_is_left_and_keeps_a_checkpoint() -> None:
    store = MemoryStore()
    one = worker(store)
    fill(store, World(5), 10)
    one.stop()
    assert one.learner.position == 20
    assert len(store.state_versions()) == 1
    one.stop()
    assert len(store.state_versions()) == 1


# --- threads ----------------------------------------------------------------------------------------------------------


def learning_threads() -> int:
    return sum(thread.name == "mixllm-learning" for thread in threading.enumerate())


class SlowToTell(LearningWorker):
    """A worker whose callers have long decided to start it when one of them does."""

    @property
    def running(self) -> bool:
        running = super().running
        time.sleep(0.01)
        return running


def test_however_many_start_it_one_thread_runs() -> None:
    before = learning_threads()
    one = SlowToTell(store=MemoryStore(), learner=learner(), publish=Published().append, clock=SystemClock())
    start = threading.Barrier(8)

    def go() -> None:
        start.wait()
        one.start()

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert learning_threads() == before + 1
    assert one.running
    one.stop()
    assert learning_threads() == before


def test_it_can_be_started_again() -> None:
    store = MemoryStore()
    one = worker(store)
    for number in range(2):
        one.start()
        fill(store, World(6), 1, first=1 + number)
        reach(one, 2 + 2 * number)
        one.stop()
    assert not one.running


def test_a_closed_store_ends_the_thread() -> None:
    store = MemoryStore()
    one = worker(store)
    one.start()
    store.close()
    eventually(lambda: not one.running)


def test_published_versions_rise() -> None:
    store, published = MemoryStore(), Published()
    one = worker(store, published=published)
    one.start()
    for number in range(20):
        fill(store, World(6), 2, first=1 + 2 * number)
    reach(one, 80)
    one.stop()
    versions = [snapshot.version for snapshot in published]
    assert versions == sorted(set(versions))
    assert published[-1].position == 80


# --- a store that fails for a while -----------------------------------------------------------------------------------


class FailingStore(MemoryStore):
    """A store whose disk is full, or locked, while `failing` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = threading.Event()
        self.failed = 0
        self.reads_until_failure = -2

    def _fail(self) -> None:
        if self.failing.is_set():
            self.failed += 1
            raise StoreError("The disk is full. Make room.")

    def events_after(self, seq: int, *, limit: int = 512) -> Sequence[LearningEvent]:
        self._fail()
        self.reads_until_failure -= 1
        if self.reads_until_failure == -1:
            raise StoreError("The file is locked. Wait.")
        return super().events_after(seq, limit=limit)

    def wait_for_events(self, seq: int, *, timeout_s: float, change: int | None = None) -> bool:
        self._fail()
        return super().wait_for_events(seq, change=change, timeout_s=timeout_s)

    def save_state(self, state: LearnedState, *, announce: bool = False) -> None:
        self._fail()
        super().save_state(state, announce=announce)


def test_learning_survives_a_store_that_fails_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    store = FailingStore()
    one = worker(store)
    one.start()
    fill(store, World(7), 10)
    reach(one, 20)
    store.failing.set()
    fill(store, World(7), 10, first=11)
    eventually(lambda: store.failed > 2)
    assert one.running
    assert one.learner.position == 20
    store.failing.clear()
    reach(one, 40)
    assert "learning is waiting for the store: The disk is full" in caplog.text
    one.stop()
    healthy = worker(store)
    healthy.restore()
    assert_learned_alike(healthy.learner, one.learner)


def test_what_was_learned_before_a_failure_is_published() -> None:
    store, published = FailingStore(), Published()
    one = worker(store, published=published)
    fill(store, World(8), 400)
    store.reads_until_failure = 1
    with pytest.raises(StoreError, match="locked"):
        one.catch_up()
    assert [snapshot.position for snapshot in published] == [512]
    assert one.catch_up() == 800 - 512
    assert published[-1].position == 800


def test_a_checkpoint_that_could_not_be_kept_is_kept_later() -> None:
    store = FailingStore()
    one = worker(store)
    fill(store, World(9), 3)
    one.catch_up()
    store.failing.set()
    with pytest.raises(StoreError, match="The disk is full"):
        one.checkpoint()
    store.failing.clear()
    one.checkpoint()
    assert len(store.state_versions()) == 1


def test_who_observes_sees_every_batch_that_was_learned() -> None:
    store = MemoryStore()
    one = worker(store)
    seen: list[int] = []
    one.observe = lambda events: seen.extend(event.seq for event in events)
    fill(store, World(seed=0), 5)
    learned = one.catch_up()
    assert seen == [event.seq for event in store.events_after(0)]
    assert len(seen) == learned > 0
