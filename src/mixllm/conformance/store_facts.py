"""What a store does with decisions, outcomes and feedback."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from mixllm.conformance.store_samples import PATIENCE_S, raises, receipt, sample_feedback, sample_outcome, sample_record
from mixllm.errors import ConflictingEventError, InvalidValueError, UnknownDecisionError
from mixllm.interfaces import Store
from mixllm.types import Feedback, FeedbackKind, FeedbackReceipt, OutcomeStatus, StoredDecision

__all__ = ["FACT_CHECKS"]


def check_decision(store: Store) -> None:
    plain, prompted = sample_record(1), sample_record(2, prompt="What is \N{GREEK SMALL LETTER PI}?\0")
    for record in (plain, prompted):
        store.append_decision(record)
        expected = StoredDecision(decision=record.decision, prompt=record.prompt)
        assert store.decision(record.decision.decision_id) == expected, "visible at once"
    store.flush()
    assert store.decision(plain.decision.decision_id).prompt is None
    assert store.decision(prompted.decision.decision_id) == StoredDecision(
        decision=prompted.decision, prompt=prompted.prompt
    )
    for unknown in ("nobody", "", "\0", "\ud800", "x" * 10_000):
        with raises(UnknownDecisionError, f"decision({unknown[:10]!r})"):
            store.decision(unknown)


def check_decision_parts(store: Store) -> None:
    record = sample_record(1)
    outcomes = [sample_outcome(record, attempt=0, status=OutcomeStatus.TIMEOUT), sample_outcome(record, attempt=1)]
    feedback = [sample_feedback(record, "f-b"), sample_feedback(record, "f-a", value=1.0)]
    store.append_decision(record)
    store.append_outcome(outcomes[0])
    store.append_outcome(outcomes[1])
    futures = [store.append_feedback(one) for one in feedback]
    expected = StoredDecision(
        decision=record.decision, outcomes=tuple(one.outcome for one in outcomes), feedback=tuple(feedback)
    )
    assert store.decision(record.decision.decision_id) == expected, "outcomes and feedback are visible at once"
    assert [one.result(PATIENCE_S).duplicate for one in futures] == [False, False]
    assert store.decision(record.decision.decision_id) == expected
    assert list(store.decisions()) == [expected]


def check_decisions(store: Store) -> None:
    assert list(store.decisions()) == []
    records = {number: sample_record(number) for number in (3, 1, 5, 2, 4)}
    for record in records.values():
        store.append_decision(record)
        store.append_outcome(sample_outcome(record))
    store.flush()

    def numbers(page: Sequence[StoredDecision]) -> list[int]:
        assert all(len(one.outcomes) == 1 for one in page)
        return [int(one.decision.decision_id[1:]) for one in page]

    assert numbers(store.decisions()) == [5, 4, 3, 2, 1]
    assert numbers(store.decisions(limit=2)) == [5, 4]
    assert numbers(store.decisions(limit=2, before=records[4].decision.decision_id)) == [3, 2]
    assert numbers(store.decisions(before=records[1].decision.decision_id)) == []
    assert numbers(store.decisions(before="zzz", limit=10**30)) == [5, 4, 3, 2, 1], "`before` need not exist"
    for limit in (0, -1):
        with raises(InvalidValueError, f"decisions(limit={limit})"):
            store.decisions(limit=limit)
    with raises(InvalidValueError, "decisions(before='')"):
        store.decisions(before="")


def check_repeated_facts(store: Store) -> None:
    record = sample_record(1)
    store.append_outcome(sample_outcome(record))  # Not known yet.
    store.append_decision(record)
    assert store.decision(record.decision.decision_id).outcomes == (), "what came before the decision is refused"
    store.append_decision(sample_record(1, llm="other"))
    store.append_outcome(sample_outcome(record))
    store.append_outcome(sample_outcome(record, llm="other"))
    store.append_outcome(msgspec.structs.replace(sample_outcome(record), decision_id="nobody"))
    store.append_outcome(msgspec.structs.replace(sample_outcome(record), decision_id="\ud800"))
    store.flush()
    assert dict(store.counts()) == {"decisions": 1, "outcomes": 1, "feedback": 0, "dropped": 5}
    expected = StoredDecision(decision=record.decision, outcomes=(sample_outcome(record).outcome,))
    assert store.decision(record.decision.decision_id) == expected, "the first counts"
    assert len(store.events_after(0)) == 1


def check_feedback(store: Store) -> None:
    record = sample_record(1)
    store.append_decision(record)  # Not flushed: the feedback must find it all the same.
    assert receipt(store, sample_feedback(record, "f")) == FeedbackReceipt(feedback_id="f", duplicate=False)
    before = list(store.events_after(0))
    assert len(before) == 1, "an acknowledged feedback is durable"
    again = sample_feedback(record, "f", created_at_s=999.0)
    assert receipt(store, again) == FeedbackReceipt(feedback_id="f", duplicate=True)
    with raises(ConflictingEventError, "another value under the same feedback_id"):
        receipt(store, sample_feedback(record, "f", value=0.4))
    other = sample_record(2)
    with raises(ConflictingEventError, "another decision under the same feedback_id"):
        receipt(store, sample_feedback(other, "f"))
    with raises(UnknownDecisionError, "feedback on an unknown decision"):
        receipt(store, sample_feedback(other, "g"))
    assert list(store.events_after(0)) == before, "nothing of that is a new event"
    store.append_decision(other)
    assert not receipt(store, sample_feedback(other, "g")).duplicate, "a refused feedback_id is free"
    assert store.decision(record.decision.decision_id).feedback == (sample_feedback(record, "f"),)
    assert dict(store.counts()) == {"decisions": 2, "outcomes": 0, "feedback": 2, "dropped": 0}


def check_duplicates_in_flight(store: Store) -> None:
    record = sample_record(1)
    store.append_decision(record)
    futures = [store.append_feedback(sample_feedback(record, "f")) for _ in range(5)]
    conflict = store.append_feedback(sample_feedback(record, "f", value=0.9))
    assert [one.result(PATIENCE_S).duplicate for one in futures] == [False, True, True, True, True]
    assert isinstance(conflict.exception(PATIENCE_S), ConflictingEventError)
    assert len(store.events_after(0)) == 1


def check_futures(store: Store) -> None:
    record = sample_record(1)
    store.append_decision(record)
    store.append_feedback(sample_feedback(record, "given-up")).cancel()
    answered = threading.Event()
    first = store.append_feedback(sample_feedback(record, "first"))

    def go_on(_: object) -> None:
        store.append_outcome(sample_outcome(record))
        store.append_feedback(sample_feedback(record, "second")).add_done_callback(lambda _: answered.set())

    first.add_done_callback(go_on)
    assert answered.wait(PATIENCE_S), "a callback may append"
    assert dict(store.counts()) == {"decisions": 1, "outcomes": 1, "feedback": 3, "dropped": 0}


def check_ids(store: Store) -> None:
    record = sample_record(1)
    store.append_decision(record)
    outcome = sample_outcome(record)
    assert not receipt(store, sample_feedback(record, outcome.event_id)).duplicate
    store.append_outcome(outcome)
    store.flush()
    assert store.counts()["outcomes"] == 1, "a feedback_id that looks like an outcome's id does not shadow it"
    strange = msgspec.structs.replace(record.decision, decision_id="'; -- \N{SNOWMAN}/0 %_\\\n")
    store.append_decision(msgspec.structs.replace(record, decision=strange))
    feedback = Feedback(feedback_id="\N{SNOWMAN}", decision_id=strange.decision_id, kind=FeedbackKind.BINARY, value=1)
    assert not receipt(store, feedback).duplicate
    assert store.decision(strange.decision_id) == StoredDecision(decision=strange, feedback=(feedback,))
    for bad in ("", "\ud800", "a\0b", "x" * 601):
        with raises(InvalidValueError, f"a decision_id {bad[:9]!r}"):
            store.append_decision(
                msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, decision_id=bad))
            )
    for bad in ("\ud800", "a\0b"):
        with raises(InvalidValueError, f"a feedback_id {bad!r}"):
            store.append_feedback(sample_feedback(record, bad))
    with raises(InvalidValueError, "a tag that is no valid text"):
        store.append_feedback(msgspec.structs.replace(sample_feedback(record, "t"), tags=(("\ud800", ""),)))


def check_odd_contents(store: Store) -> None:
    infinite = sample_record(1, score=float("-inf"))
    broken = sample_record(2, prompt="half a \ud83d pair")
    broken = msgspec.structs.replace(broken, decision=msgspec.structs.replace(broken.decision, reason="\udc80 null"))
    plain = sample_record(3)
    outcome = sample_outcome(plain, status=OutcomeStatus.ERROR)
    outcome = msgspec.structs.replace(outcome, outcome=msgspec.structs.replace(outcome.outcome, error="\udcff"))
    for record in (infinite, broken, plain):
        store.append_decision(record)
    store.append_outcome(outcome)
    assert not receipt(store, sample_feedback(plain, "f")).duplicate
    assert store.decision(infinite.decision.decision_id).decision == infinite.decision, "infinite scores are kept"
    assert store.decision(broken.decision.decision_id).decision.candidates == broken.decision.candidates
    assert store.decision(plain.decision.decision_id).decision == plain.decision
    assert [event.outcome is None for event in store.events_after(0)] == [False, True]
    assert dict(store.counts()) == {"decisions": 3, "outcomes": 1, "feedback": 1, "dropped": 0}


FACT_CHECKS = (
    check_decision,
    check_decision_parts,
    check_decisions,
    check_repeated_facts,
    check_feedback,
    check_duplicates_in_flight,
    check_futures,
    check_ids,
    check_odd_contents,
)
"""Each takes a new store."""
