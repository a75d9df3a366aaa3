"""How a store lets learning follow its events."""

from __future__ import annotations

import math
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
    assert store.last_seq() == 0
    records = [_from_outside(sample_record(number), 0.25 * number, in_flight=number) for number in range(4)]
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
            in_flight=number,
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
    assert store.last_seq() == events[-1].seq
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


def _from_outside(record: DecisionRecord, score: float, *, in_flight: int) -> DecisionRecord:
    decision = msgspec.structs.replace(record.decision, out_of_domain=score, in_flight=in_flight)
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


def check_spending(store: Store) -> None:
    assert dict(store.spent_usd(since_s=0.0)) == {}
    ours, theirs = (_asked_by(sample_record(number), key) for number, key in enumerate(("key-ours", "key-theirs")))
    for record in (ours, theirs):
        store.append_decision(record)
    free = sample_outcome(ours, attempt=5)
    store.append_outcome(msgspec.structs.replace(free, outcome=msgspec.structs.replace(free.outcome, cost_usd=None)))
    for record, attempt, time_s in ((ours, 0, 10.0), (ours, 1, 20.0), (theirs, 0, 20.0), (ours, 0, 99.0)):
        # The last one repeats the first, later and at another cost: it is no event.
        outcome = sample_outcome(record, attempt=attempt)
        store.append_outcome(msgspec.structs.replace(outcome, created_at_s=time_s))
    verdict = msgspec.structs.replace(
        sample_feedback(theirs, "verdict"), created_at_s=30.0, cost_usd=0.25, key_id="judge"
    )
    for _ in range(2):
        store.append_feedback(verdict)
    store.append_feedback(sample_feedback(ours, "thumbs"))
    store.flush()
    everything = dict(store.spent_usd(since_s=0.0))
    assert everything.keys() == {"key-ours", "key-theirs"}, "a judgement is charged to who asked, not to who judged"
    assert math.isclose(everything["key-ours"], 0.1 + 1.1)
    assert math.isclose(everything["key-theirs"], 0.1 + 0.25)
    assert math.isclose(store.spent_usd(since_s=20.0)["key-ours"], 1.1), "since_s is the first moment that counts"
    assert dict(store.spent_usd(since_s=20.5)) == {"key-theirs": 0.25}
    assert dict(store.spent_usd(since_s=31.0)) == {}
    events = list(store.events_after(0))
    for event in events:
        assert event.key_id == ("key-ours" if event.decision_id == ours.decision.decision_id else "key-theirs")
        until = dict(store.spent_usd(since_s=0.0, until_seq=event.seq))
        charged = sum(one.charge_usd for one in events if one.seq <= event.seq)
        assert math.isclose(sum(until.values()), charged), "until_seq is the last event that counts"
    assert dict(store.spent_usd(since_s=0.0, until_seq=0)) == {}
    assert dict(store.spent_usd(since_s=0.0, until_seq=10**30)) == everything
    with raises(InvalidValueError, "spent_usd(since_s=nan)"):
        store.spent_usd(since_s=float("nan"))
    with raises(InvalidValueError, "spent_usd(until_seq=-1)"):
        store.spent_usd(since_s=0.0, until_seq=-1)


def _asked_by(record: DecisionRecord, key_id: str) -> DecisionRecord:
    return msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, key_id=key_id))


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
    check_spending,
    check_waiting,
    check_threads,
)
"""Each takes a new store."""
