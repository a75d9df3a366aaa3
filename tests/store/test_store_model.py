"""Random interleavings of everything, on both stores, against a model of a few lines."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from mixllm.conformance.store_samples import PATIENCE_S, sample_feedback, sample_outcome, sample_record
from mixllm.errors import ConflictingEventError, StoreError, UnknownDecisionError
from mixllm.interfaces import Store
from mixllm.store import MemoryStore, SQLiteStore
from mixllm.types import (
    DecisionRecord,
    Feedback,
    FeedbackReceipt,
    LearnedState,
    LearningEvent,
    OutcomeStatus,
    StoredDecision,
)

NUMBERS = st.integers(0, 4)
LLMS = st.sampled_from(["a", "b", "c"])
KEEP_STATES = 3


def _settings(examples: int) -> settings:
    return settings(max_examples=examples, stateful_step_count=40, deadline=None, derandomize=True, database=None)


class Model:
    """What a store should hold."""

    def __init__(self) -> None:
        self.records: dict[str, DecisionRecord] = {}
        self.events: list[LearningEvent] = []
        self.answered: dict[str, str] = {}
        self.outcomes: set[str] = set()
        self.feedback: dict[str, Feedback] = {}
        self.states: dict[int, LearnedState] = {}
        self.dropped = 0

    def about(self, decision_id: str, llm: str) -> LearningEvent:
        record = self.records[decision_id]
        return LearningEvent(
            seq=0,
            decision_id=decision_id,
            llm=llm,
            encoding=record.encoding,
            tokens_in=record.decision.tokens_in,
            out_of_domain=record.decision.out_of_domain,
        )

    def judge(self, feedback: Feedback) -> FeedbackReceipt | type[StoreError]:
        known = self.feedback.get(feedback.feedback_id)
        if known is not None:
            if (known.decision_id, known.value) != (feedback.decision_id, feedback.value):
                return ConflictingEventError
            return FeedbackReceipt(feedback_id=feedback.feedback_id, duplicate=True)
        if feedback.decision_id not in self.records:
            return UnknownDecisionError
        self.feedback[feedback.feedback_id] = feedback
        llm = self.answered.get(feedback.decision_id, self.records[feedback.decision_id].decision.llm)
        about = self.about(feedback.decision_id, llm)
        self.events.append(msgspec.structs.replace(about, feedback=feedback, created_at_s=feedback.created_at_s))
        return FeedbackReceipt(feedback_id=feedback.feedback_id, duplicate=False)

    def stored(self, decision_id: str) -> StoredDecision:
        mine = [event for event in self.events if event.decision_id == decision_id]
        return StoredDecision(
            decision=self.records[decision_id].decision,
            outcomes=tuple(event.outcome for event in mine if event.outcome is not None),
            feedback=tuple(event.feedback for event in mine if event.feedback is not None),
            prompt=self.records[decision_id].prompt,
        )


class Machine(RuleBasedStateMachine):
    """Does the same to a store and to the model."""

    make: Callable[[], Store]
    reopens = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.open()
        self.model = Model()
        self.answers: list[tuple[Future[FeedbackReceipt], FeedbackReceipt | type[StoreError]]] = []

    def open(self) -> Store:
        raise NotImplementedError

    @rule(number=NUMBERS, llm=LLMS, prompt=st.none() | st.text(st.characters(codec="utf-8"), max_size=5))
    def decide(self, number: int, llm: str, prompt: str | None) -> None:
        record = sample_record(number, llm=llm, prompt=prompt)
        self.store.append_decision(record)
        if record.decision.decision_id in self.model.records:
            self.model.dropped += 1
        else:
            self.model.records[record.decision.decision_id] = record

    @rule(
        number=NUMBERS,
        llm=st.none() | LLMS,
        attempt=st.integers(0, 2),
        status=st.sampled_from([OutcomeStatus.OK, OutcomeStatus.ERROR]),
    )
    def observe(self, number: int, llm: str | None, attempt: int, status: OutcomeStatus) -> None:
        event = sample_outcome(sample_record(number), llm=llm, attempt=attempt, status=status)
        self.store.append_outcome(event)
        model = self.model
        if event.decision_id not in model.records or event.event_id in model.outcomes:
            model.dropped += 1
            return
        model.outcomes.add(event.event_id)
        answered = llm or model.records[event.decision_id].decision.llm
        if status is OutcomeStatus.OK:
            model.answered[event.decision_id] = answered
        about = model.about(event.decision_id, answered)
        model.events.append(msgspec.structs.replace(about, outcome=event.outcome, created_at_s=event.created_at_s))

    @rule(
        number=NUMBERS, key=st.sampled_from(["f1", "f2", "f3", "d00000001/0"]), value=st.sampled_from([0.0, 0.1 + 0.2])
    )
    def judge(self, number: int, key: str, value: float) -> None:
        # The time differs with every call, and must not matter.
        feedback = sample_feedback(sample_record(number), key, value=value, created_at_s=float(len(self.answers)))
        self.answers.append((self.store.append_feedback(feedback), self.model.judge(feedback)))

    @rule(version=st.integers(1, 6), payload=st.binary(max_size=3))
    def checkpoint(self, version: int, payload: bytes) -> None:
        state = LearnedState(version=version, position=0, created_at_s=0.0, payload=payload)
        self.store.save_state(state)
        self.model.states.pop(version, None)
        self.model.states[version] = state
        while len(self.model.states) > KEEP_STATES:
            del self.model.states[next(iter(self.model.states))]

    @rule(number=NUMBERS)
    def look(self, number: int) -> None:
        decision_id = sample_record(number).decision.decision_id
        if decision_id in self.model.records:
            known = self.store.decision(decision_id)
            assert known.decision == self.model.records[decision_id].decision
            assert known.outcomes == self.model.stored(decision_id).outcomes
        else:
            try:
                self.store.decision(decision_id)
            except UnknownDecisionError:
                return
            raise AssertionError("an unknown decision must be refused")

    @rule()
    def compare(self) -> None:
        store, model = self.store, self.model
        store.flush()
        for future, expected in self.answers:
            if isinstance(expected, FeedbackReceipt):
                assert future.result(PATIENCE_S) == expected
            else:
                assert type(future.exception(PATIENCE_S)) is expected
        events = store.events_after(0)
        assert [msgspec.structs.replace(event, seq=0) for event in events] == model.events
        seqs = [event.seq for event in events]
        assert seqs == sorted(set(seqs))
        assert [one.decision.decision_id for one in store.decisions()] == sorted(model.records, reverse=True)
        assert list(store.decisions()) == [model.stored(key) for key in sorted(model.records, reverse=True)]
        assert dict(store.counts()) == {
            "decisions": len(model.records),
            "outcomes": len(model.outcomes),
            "feedback": len(model.feedback),
            "dropped": model.dropped,
        }

    @rule()
    @precondition(lambda self: self.reopens)
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open()
        self.model.dropped = 0

    @invariant()
    def states_are_kept(self) -> None:
        assert list(self.store.state_versions()) == list(self.model.states)
        newest = next(reversed(self.model.states.values()), None)
        assert self.store.load_state() == newest

    def teardown(self) -> None:
        self.compare()
        self.store.close()
        self.folder.cleanup()


class MemoryMachine(Machine):
    def open(self) -> Store:
        return MemoryStore(keep_states=KEEP_STATES)


class SQLiteMachine(Machine):
    reopens = True

    def open(self) -> Store:
        return SQLiteStore(
            path=Path(self.folder.name) / "m.db", max_commit_delay_s=0.001, max_batch=5, keep_states=KEEP_STATES
        )


def test_memory_store_behaves_like_the_model() -> None:
    run_state_machine_as_test(MemoryMachine, settings=_settings(100))
    assert not MemoryMachine.reopens


def test_sqlite_store_behaves_like_the_model() -> None:
    run_state_machine_as_test(SQLiteMachine, settings=_settings(25))
    assert SQLiteMachine.reopens
