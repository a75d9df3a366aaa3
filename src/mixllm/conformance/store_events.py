"""How a store lets learning follow its events."""

from __future__ import annotations

import threading
import time

import msgspec

from mixllm.conformance.store_samples import PATIENCE_S, raises, sample_feedback, sample_outcome, sample_record
from mixllm.errors import InvalidValueError
from mixllm.interfaces import Store
from mixllm.types import DecisionRecord, LearningEvent, OutcomeStatus

__all__ = ["EVENT_CHECKS"]


def check_events(store: Store) -> None:
    assert list(store.events_after(0)) == []
    records = [_from_outside(sample_record(number), 0.25 * number) for number in range(4)]
    expected: list[LearningEvent] = []
    for number, record in enumerate(records):
        store.append_decision(record)
        about = LearningEvent(
            seq=0,
            decision_id=record.decision.decision_id,
            llm="small",
            encoding=record.encoding,
            tokens_in=100 + number,
            out_of_domain=record.decision.out_of_domain,
        )
        feedback = sample_feedback(records[number // 2], f"f{number}")
        store.append_outcome(sample_outcome(record))
        store.append_feedback(feedback)
        event = sample_outcome(record)
        expected.append(msgspec.structs.replace(about, outcome=event.outcome, created_at_s=event.created_at_s))
        judged = msgspec.structs.replace(
            expected[2 * (number // 2)], outcome=None, feedback=feedback, created_at_s=feedback.created_at_s
        )
        expected.append(judged)
    store.flush()
    events = list(store.events_after(0))
    assert [msgspec.structs.replace(event, seq=0) for event in events] == expected, "in the order of the appends"
    seqs = [event.seq for event in events]
    assert seqs[0] > 0
    assert seqs == sorted(set(seqs)), "seq rises strictly"
    assert list(store.events_after(0, limit=3)) == events[:3]
    assert list(store.events_after(seqs[2], limit=2)) == events[3:5]
    assert list(store.events_after(seqs[-1])) == []
    assert list(store.events_after(10**30, limit=10**30)) == []
    for seq, limit in ((-1, 1), (0, 0), (0, -5)):
        with raises(InvalidValueError, f"events_after({seq}, limit={limit})"):
            store.events_after(seq, limit=limit)


def _from_outside(record: DecisionRecord, score: float) -> DecisionRecord:
    decision = msgspec.structs.replace(record.decision, out_of_domain=score)
    return msgspec.structs.replace(record, decision=decision)


def check_who_answered(store: Store) -> None:
    record = sample_record(1, llm="chosen")
    store.append_decision(record)
    store.append_feedback(sample_feedback(record, "early"))
    store.append_outcome(sample_outcome(record, attempt=0, status=OutcomeStatus.ERROR))
    store.append_feedback(sample_feedback(record, "after the error"))
    store.append_outcome(sample_outcome(record, attempt=1, llm="fallback"))
    store.append_feedback(sample_feedback(record, "after the fallback"))
    store.append_outcome(sample_outcome(record, attempt=2, llm="third", status=OutcomeStatus.CANCELLED))
    store.append_feedback(sample_feedback(record, "after a cancelled one"))
    store.flush()
    first = list(store.events_after(0))
    names = ["chosen", "chosen", "chosen", "fallback", "fallback", "third", "fallback"]
    assert [event.llm for event in first] == names
    store.append_outcome(sample_outcome(record, attempt=3))
    store.append_feedback(sample_feedback(record, "last"))
    store.flush()
    events = list(store.events_after(0))
    assert events[: len(first)] == first, "an event never changes"
    assert [event.llm for event in events[len(first) :]] == ["chosen", "chosen"]


def check_waiting(store: Store) -> None:
    record = sample_record(1)
    store.append_decision(record)
    store.flush()
    assert not store.wait_for_events(0, timeout_s=0.0), "a decision is not an event"
    assert not store.wait_for_events(0, timeout_s=0.01)
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(store.wait_for_events(0, timeout_s=PATIENCE_S)))
    waiter.start()
    started_s = time.monotonic()
    store.append_outcome(sample_outcome(record))
    waiter.join(PATIENCE_S)
    assert woken == [True]
    assert time.monotonic() - started_s < PATIENCE_S / 2, "a commit wakes the waiter"
    (event,) = store.events_after(0)
    assert store.wait_for_events(0, timeout_s=0.0)
    assert not store.wait_for_events(event.seq, timeout_s=0.0)
    for bad in (-1.0, float("nan"), float("inf")):
        with raises(InvalidValueError, f"wait_for_events(timeout_s={bad})"):
            store.wait_for_events(0, timeout_s=bad)
    with raises(InvalidValueError, "wait_for_events(-1)"):
        store.wait_for_events(-1, timeout_s=0.0)


def check_threads(store: Store) -> None:
    writers, each = 4, 25
    seen: list[LearningEvent] = []
    done = threading.Event()

    def write(writer: int) -> None:
        for number in range(each):
            record = sample_record(writer * each + number)
            store.append_decision(record)
            store.append_outcome(sample_outcome(record))
            store.append_feedback(sample_feedback(record, f"{writer}-{number}"))

    def follow() -> None:
        seq = 0
        while True:
            last = done.is_set()
            while page := store.events_after(seq, limit=7):
                seen.extend(page)
                seq = page[-1].seq
            if last:
                return
            store.wait_for_events(seq, timeout_s=0.05)

    follower = threading.Thread(target=follow)
    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in (follower, *threads):
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    store.flush()
    done.set()
    follower.join(PATIENCE_S)
    number = writers * each
    assert dict(store.counts()) == {"decisions": number, "outcomes": number, "feedback": number, "dropped": 0}
    assert len(seen) == 2 * number
    assert seen == list(store.events_after(0, limit=10_000)), "who follows the tail misses nothing"


EVENT_CHECKS = (
    check_events,
    check_who_answered,
    check_waiting,
    check_threads,
)
"""Each takes a new store."""
