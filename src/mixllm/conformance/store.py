"""What every `mixllm.interfaces.Store` must do, as checks that any store can be run through.

`check_store` takes a function that makes new, empty stores. `check_persistence` takes one that opens the same storage
again, for stores that outlive their process. Neither assumes anything of how a store keeps its values.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mixllm.conformance.store_events import EVENT_CHECKS
from mixllm.conformance.store_facts import FACT_CHECKS
from mixllm.conformance.store_samples import PATIENCE_S, raises, receipt, sample_feedback, sample_outcome, sample_record
from mixllm.errors import InvalidValueError, StoreClosedError
from mixllm.interfaces import Store
from mixllm.types import LearnedState, LLMSpec, PoolChange, StateChange

__all__ = ["check_persistence", "check_store"]


def check_store(make: Callable[[], Store]) -> None:
    """Run the whole contract; raises `AssertionError` where the store does not fulfil it.

    Parameters
    ----------
    make
        Makes a new, empty store that holds at least 300 decisions, queues at least 1,000 items and keeps at least two
        checkpoints.
    """
    for check in (*FACT_CHECKS, *EVENT_CHECKS, *_OTHER_CHECKS):
        store = make()
        try:
            check(store)
        finally:
            store.close()


def check_persistence(open_store: Callable[[], Store]) -> None:
    """Check that a store which is opened again holds what it held, and goes on from there.

    Parameters
    ----------
    open_store
        Opens the same storage at every call; it is empty at the first.
    """
    first, second = sample_record(1, prompt="kept"), sample_record(2)
    state = LearnedState(version=4, position=2, created_at_s=1.5, payload=b"\0learned\xff")
    change = PoolChange(spec=LLMSpec(name="small"), active=False, created_at_s=1.0)
    store = open_store()
    store.append_decision(first)
    store.append_outcome(sample_outcome(first))
    receipt(store, sample_feedback(first, "f1"))
    store.append_pool_change(change)
    store.save_state(state)
    store.quarantine_state(state.version, "kept apart")
    store.append_decision(second)  # Nobody waits for this one: close() must.
    known, events = store.decision(first.decision.decision_id), list(store.events_after(0))
    spent = dict(store.spent_usd(since_s=0.0))
    store.close()

    store = open_store()
    try:
        assert store.decision(first.decision.decision_id) == known
        assert [one.decision for one in store.decisions()] == [second.decision, first.decision]
        assert list(store.events_after(0)) == events
        assert spent == store.spent_usd(since_s=0.0) != {}
        assert store.wait_for_events(0, timeout_s=0.0), "events of before are events"
        assert store.load_state() is None, "a checkpoint stays in quarantine"
        assert store.load_state(4) == state
        assert [info.quarantined for info in store.states()] == ["kept apart"]
        assert store.last_seq() == events[-1].seq
        assert list(store.pool_changes()) == [change]
        assert {**store.counts(), "dropped": 0} == {"decisions": 2, "outcomes": 1, "feedback": 1, "dropped": 0}
        assert receipt(store, sample_feedback(first, "f1", created_at_s=9.0)).duplicate
        assert not receipt(store, sample_feedback(second, "f2")).duplicate
        (new,) = store.events_after(events[-1].seq)
        assert new.feedback == sample_feedback(second, "f2")
    finally:
        store.close()


def _check_pool(store: Store) -> None:
    assert list(store.pool_changes()) == []
    added = [
        PoolChange(spec=LLMSpec(name=name, context_window=10), active=True, created_at_s=1.0)
        for name in ("b", "a", "c")
    ]
    for change in added:
        store.append_pool_change(change)
    assert list(store.pool_changes()) == added
    removed = PoolChange(spec=LLMSpec(name="b"), active=False, created_at_s=0.5)
    store.append_pool_change(removed)
    assert list(store.pool_changes()) == [added[1], added[2], removed], "ordered by the appends, not by the clock"


def _check_places(store: Store) -> None:
    assert list(store.placed_changes(0)) == []
    assert not store.wait_for_events(0, change=0, timeout_s=0.0)
    record = sample_record(1)
    changes = [PoolChange(spec=LLMSpec(name=name), active=True, created_at_s=1.0) for name in ("a", "b", "c")]
    store.append_decision(record)
    store.append_pool_change(changes[0])
    store.append_outcome(sample_outcome(record))
    store.append_pool_change(changes[1])
    receipt(store, sample_feedback(record, "f"))
    store.append_pool_change(changes[2])
    placed, seqs = list(store.placed_changes(0)), [event.seq for event in store.events_after(0)]
    assert [one.change for one in placed] == changes
    assert [one.after_seq for one in placed] == [0, *seqs], "after what was appended before"
    numbers = [one.number for one in placed]
    assert 0 < numbers[0] < numbers[1] < numbers[2]
    assert list(store.placed_changes(numbers[0])) == placed[1:]
    assert list(store.placed_changes(0, limit=2)) == placed[:2]
    assert list(store.placed_changes(numbers[2])) == list(store.placed_changes(10**30)) == []
    assert not store.wait_for_events(seqs[1], change=numbers[2], timeout_s=0.01)
    for number, limit in ((-1, 1), (0, 0)):
        with raises(InvalidValueError, f"placed_changes({number}, limit={limit})"):
            store.placed_changes(number, limit=limit)
    woken: list[bool] = []
    waiter = threading.Thread(
        target=lambda: woken.append(store.wait_for_events(seqs[1], change=numbers[2], timeout_s=PATIENCE_S))
    )
    waiter.start()
    started_s = time.monotonic()
    store.append_pool_change(changes[0])
    waiter.join(PATIENCE_S)
    assert woken == [True], "a change of the pool wakes who waits for one"
    assert time.monotonic() - started_s < PATIENCE_S / 2


def _check_health(store: Store) -> None:
    health = store.health()
    assert (health.problem, health.spooled, health.spooled_bytes, health.dropped) == (None, 0, 0, 0)
    assert health.place
    store.append_outcome(sample_outcome(sample_record(1)))
    store.flush()
    assert store.health().dropped == 1


def _check_states(store: Store) -> None:
    assert store.load_state() is None
    assert store.load_state(1) is None
    assert list(store.state_versions()) == []
    states = [
        LearnedState(version=version, position=9 - version, created_at_s=0.0, payload=bytes([version, 0]))
        for version in range(1, 9)
    ]
    for number, state in enumerate(states, start=1):
        store.save_state(state)
        assert store.load_state() == state
        kept = list(store.state_versions())
        assert kept == list(range(number - len(kept) + 1, number + 1)), "the newest are kept, oldest first"
        assert len(kept) >= min(2, number)
        assert [store.load_state(one) for one in kept] == states[number - len(kept) : number]
    assert store.load_state(99) is None
    assert store.load_state(10**30) is None
    replaced = LearnedState(version=7, position=1, created_at_s=3.0, payload=b"")
    store.save_state(replaced)
    assert store.load_state() == store.load_state(7) == replaced, "saving a version again replaces it"
    assert store.state_versions()[-1] == 7
    _check_quarantine(store)
    _check_announced(store)


def _check_announced(store: Store) -> None:
    change = PoolChange(spec=LLMSpec(name="before"), active=True, created_at_s=1.0)
    store.append_pool_change(change)
    (before,) = store.placed_changes(0)
    state = LearnedState(version=200, position=3, created_at_s=4.0, payload=b"for all")
    store.save_state(state, announce=True)
    store.append_pool_change(PoolChange(spec=LLMSpec(name="after"), active=True, created_at_s=5.0))
    announced, after = store.placed_changes(before.number)
    assert announced.change == StateChange(version=200, created_at_s=4.0)
    assert before.number < announced.number < after.number, "in one order with the changes of the pool"
    assert announced.after_seq == store.last_seq()
    assert store.wait_for_events(store.last_seq(), change=before.number, timeout_s=PATIENCE_S)
    assert store.load_state() == state
    assert [one.spec.name for one in store.pool_changes()] == ["before", "after"]
    for version in range(201, 230):
        store.save_state(LearnedState(version=version, position=4, created_at_s=9.0, payload=b""))
    assert store.load_state(200) == state, "who comes late still finds it"


def _check_quarantine(store: Store) -> None:
    versions = list(store.state_versions())
    newest, before = versions[-1], versions[-2]
    assert [info.version for info in store.states()] == versions
    assert all(info.quarantined is None for info in store.states())
    whole = store.load_state(newest)
    assert whole is not None
    known = store.states()[-1]
    assert (known.position, known.created_at_s, known.size_bytes) == (
        whole.position,
        whole.created_at_s,
        len(whole.payload),
    )
    store.quarantine_state(newest, "it is damaged")
    assert list(store.state_versions()) == versions[:-1], "not among those that may be used"
    assert [info.quarantined for info in store.states()] == [None] * (len(versions) - 1) + ["it is damaged"]
    latest = store.load_state()
    assert latest is not None
    assert latest.version == before, "the newest that may be used"
    assert store.load_state(newest) == whole, "kept as it is"
    for version in range(100, 125):
        store.save_state(LearnedState(version=version, position=1, created_at_s=9.0, payload=b""))
    assert store.load_state(newest) == whole, "never forgotten"
    store.release_state(newest)
    assert newest in store.state_versions()
    store.quarantine_state(124, "a mistake")
    store.save_state(LearnedState(version=124, position=2, created_at_s=9.0, payload=b"new"))
    assert store.state_versions()[-1] == 124, "saved again, it may be used again"
    store.quarantine_state(10**6, "nobody knows it")
    store.release_state(10**6)
    assert 10**6 not in [info.version for info in store.states()]


def _check_close(store: Store) -> None:
    record = sample_record(1)
    store.append_decision(record)
    woken: list[bool] = []

    def wait() -> None:
        try:
            woken.append(store.wait_for_events(0, timeout_s=PATIENCE_S))
        except StoreClosedError:
            woken.append(False)  # The store was closed before the wait began.

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.01)
    store.close()
    store.close()
    waiter.join(PATIENCE_S / 2)
    assert woken == [False], "closing wakes who waits"
    calls: dict[str, Callable[[], object]] = {
        "append_decision": lambda: store.append_decision(record),
        "append_outcome": lambda: store.append_outcome(sample_outcome(record)),
        "append_feedback": lambda: store.append_feedback(sample_feedback(record, "f")),
        "decision": lambda: store.decision(record.decision.decision_id),
        "decisions": store.decisions,
        "events_after": lambda: store.events_after(0),
        "wait_for_events": lambda: store.wait_for_events(0, timeout_s=PATIENCE_S),
        "spent_usd": lambda: store.spent_usd(since_s=0.0),
        "append_pool_change": lambda: store.append_pool_change(
            PoolChange(spec=LLMSpec(name="a"), active=True, created_at_s=0.0)
        ),
        "pool_changes": store.pool_changes,
        "placed_changes": lambda: store.placed_changes(0),
        "save_state": lambda: store.save_state(LearnedState(version=1, position=0, created_at_s=0.0, payload=b"")),
        "load_state": store.load_state,
        "state_versions": store.state_versions,
        "states": store.states,
        "quarantine_state": lambda: store.quarantine_state(1, "it is damaged"),
        "release_state": lambda: store.release_state(1),
        "last_seq": store.last_seq,
        "flush": store.flush,
        "counts": store.counts,
    }
    for name, call in calls.items():
        with raises(StoreClosedError, f"{name} of a closed store"):
            call()


_OTHER_CHECKS = (_check_pool, _check_places, _check_health, _check_states, _check_close)
