from __future__ import annotations

import pytest

from mixllm.conformance.store_samples import receipt, sample_feedback, sample_outcome, sample_record
from mixllm.errors import InvalidValueError, UnknownDecisionError
from mixllm.store import MemoryStore


@pytest.mark.parametrize("bad", [{"max_decisions": 0}, {"max_decisions": -1}, {"keep_states": 0}])
def test_parameters_out_of_range_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(bad))):
        MemoryStore(**bad)


def test_oldest_decisions_are_forgotten_with_all_that_belongs_to_them() -> None:
    store = MemoryStore(max_decisions=3)
    records = [sample_record(number) for number in range(5)]
    for record in records:
        store.append_decision(record)
        store.append_outcome(sample_outcome(record))
        receipt(store, sample_feedback(record, f"f{record.decision.decision_id}"))
    kept = [record.decision.decision_id for record in records[2:]]
    assert [one.decision.decision_id for one in store.decisions()] == kept[::-1]
    events = store.events_after(0)
    assert [event.decision_id for event in events] == [key for key in kept for _ in range(2)]
    assert [event.seq for event in events] == [5, 6, 7, 8, 9, 10], "seq is not given again"
    assert store.counts() == {"decisions": 3, "outcomes": 3, "feedback": 3, "dropped": 0}
    with pytest.raises(UnknownDecisionError):
        store.decision(records[0].decision.decision_id)
    with pytest.raises(UnknownDecisionError):
        receipt(store, sample_feedback(records[0], f"f{records[0].decision.decision_id}"))
    store.append_outcome(sample_outcome(records[0], attempt=1))
    assert store.counts()["dropped"] == 1


def test_late_feedback_on_a_forgotten_decision_goes_with_it() -> None:
    store = MemoryStore(max_decisions=2)
    first, second, third = (sample_record(number) for number in range(3))
    store.append_decision(first)
    store.append_decision(second)
    store.append_outcome(sample_outcome(second))
    receipt(store, sample_feedback(first, "late"))
    store.append_decision(third)
    assert [event.decision_id for event in store.events_after(0)] == [second.decision.decision_id]
    assert store.counts()["feedback"] == 0


def test_first_appended_is_forgotten_whatever_its_id() -> None:
    store = MemoryStore(max_decisions=2)
    for number in (9, 1, 5):
        store.append_decision(sample_record(number))
    assert [one.decision.decision_id for one in store.decisions()] == ["d00000005", "d00000001"]


def test_memory_is_bounded_over_a_long_run() -> None:
    store = MemoryStore(max_decisions=10)
    for number in range(3_000):
        record = sample_record(number)
        store.append_decision(record)
        store.append_outcome(sample_outcome(record))
        receipt(store, sample_feedback(record, f"{number}"))
    assert len(store._entries) == 10
    assert len(store._events) == 20
    assert len(store._feedback) == 10
    assert len(store._ids._keys) < 1_000
    assert len(store._seqs._keys) < 1_000
    assert [event.seq for event in store.events_after(0)] == list(range(5_981, 6_001))
