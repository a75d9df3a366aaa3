"""The store that forgets: everything in memory, bounded."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from itertools import islice

from mixllm.errors import ConflictingEventError, StoreClosedError, UnknownDecisionError
from mixllm.store.checks import at_least, checked_id
from mixllm.store.ordered import OrderedKeys
from mixllm.store.rows import checked_feedback, pool_change_body, same_judgement
from mixllm.store.tail import Tail
from mixllm.types import (
    DecisionRecord,
    Feedback,
    FeedbackReceipt,
    LearnedState,
    LearningEvent,
    OutcomeEvent,
    OutcomeStatus,
    PlacedChange,
    PoolChange,
    StateChange,
    StateInfo,
    StoredDecision,
    StoreHealth,
)
from mixllm.units import finite, non_negative

__all__ = ["MemoryStore"]

_DAY_S = 86_400.0


class _Entry:
    """A decision and all that came after it."""

    __slots__ = ("answered_by", "feedback", "outcomes", "record", "seqs")

    def __init__(self, record: DecisionRecord) -> None:
        self.record = record
        self.answered_by = record.decision.llm
        self.outcomes: dict[int, OutcomeEvent] = {}
        self.feedback: dict[str, Feedback] = {}
        self.seqs: list[int] = []

    def stored(self) -> StoredDecision:
        return StoredDecision(
            decision=self.record.decision,
            outcomes=tuple(event.outcome for event in self.outcomes.values()),
            feedback=tuple(self.feedback.values()),
            prompt=self.record.prompt,
        )


class MemoryStore:
    """A `mixllm.interfaces.Store` in memory: for tests, simulations and uses that need no restart.

    Everything is "durable" at once, and gone when the store is. Of more than `max_decisions` decisions the ones that
    were appended first are forgotten, with their outcomes and their feedback, whether learned from or not: they are no
    longer known to `decision`, missing from `events_after`, and not in `counts`.

    Parameters
    ----------
    max_decisions
        Most decisions that are remembered.
    keep_states
        How many of the newest checkpoints of learned state are kept.
    keep_daily_states
        On how many days (UTC) the day's last checkpoint is kept too.

    Notes
    -----
    The LLM of a feedback's event is that of the newest ``ok`` outcome stored before the feedback, else the decision's.
    The newest checkpoint is the one saved last; saving a version again replaces it.

    Examples
    --------
    >>> store = MemoryStore()
    >>> store.counts()
    {'decisions': 0, 'outcomes': 0, 'feedback': 0, 'dropped': 0}
    >>> store.close()
    """

    def __init__(self, *, max_decisions: int = 100_000, keep_states: int = 10, keep_daily_states: int = 7) -> None:
        self._max_decisions = at_least("max_decisions", max_decisions, 1)
        self._keep_states = at_least("keep_states", keep_states, 1)
        self._keep_daily_states = at_least("keep_daily_states", keep_daily_states, 0)
        self._lock = threading.Lock()
        self._closed = False
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._ids = OrderedKeys(self._entries)
        self._events: dict[int, LearningEvent] = {}
        self._seqs = OrderedKeys(self._events)
        self._last_seq = 0
        self._tail = Tail(last_seq=0)
        self._feedback: dict[str, Feedback] = {}
        self._outcomes = 0
        self._dropped = 0
        self._pool: OrderedDict[str, PlacedChange] = OrderedDict()
        self._last_change = 0
        self._announced: PlacedChange | None = None
        self._states: OrderedDict[int, LearnedState] = OrderedDict()
        self._quarantined: dict[int, str] = {}

    def health(self) -> StoreHealth:
        """Return that it can be written."""
        return StoreHealth(place="memory", dropped=self._dropped)

    def append_decision(self, record: DecisionRecord) -> None:
        """Keep a decision; one of a known id is dropped and counted.

        Raises
        ------
        InvalidValueError
            Where its id is empty, longer than 600 characters or no valid text.
        """
        decision_id = checked_id("decision_id", record.decision.decision_id)
        with self._lock:
            self._refuse_closed()
            if decision_id in self._entries:
                self._dropped += 1
                return
            self._entries[decision_id] = _Entry(record)
            self._ids.add(decision_id)
            if len(self._entries) > self._max_decisions:
                self._forget_oldest()

    def append_outcome(self, event: OutcomeEvent) -> None:
        """Keep the facts of a call; a repeated one, or one of an unknown decision, is dropped and counted."""
        outcome = event.outcome
        with self._lock:
            self._refuse_closed()
            entry = self._entries.get(event.decision_id)
            if entry is None or outcome.attempt in entry.outcomes:
                self._dropped += 1
                return
            llm = entry.record.decision.llm if outcome.llm is None else outcome.llm
            if outcome.status is OutcomeStatus.OK:
                entry.answered_by = llm
            entry.outcomes[outcome.attempt] = event
            self._outcomes += 1
            seq = self._next_seq(entry)
            self._events[seq] = _learning_event(entry, seq=seq, llm=llm, event=event)
        self._tail.advance(seq)

    def append_feedback(self, feedback: Feedback) -> Future[FeedbackReceipt]:
        """Keep a judgement; the future is resolved when this returns.

        Raises
        ------
        InvalidValueError
            Where an id or a text cannot be kept.
        StoreError
            Raised by the future: `UnknownDecisionError` or `ConflictingEventError`.
        """
        normal, _ = checked_feedback(feedback)
        future: Future[FeedbackReceipt] = Future()
        try:
            future.set_result(self._keep_feedback(normal))
        except (UnknownDecisionError, ConflictingEventError) as error:
            future.set_exception(error)
        return future

    def decision(self, decision_id: str) -> StoredDecision:
        """Return all that is known of a decision; raises `UnknownDecisionError`."""
        with self._lock:
            self._refuse_closed()
            entry = self._entries.get(decision_id)
            if entry is None:
                raise UnknownDecisionError(decision_id)
            return entry.stored()

    def decisions(self, *, limit: int = 100, before: str | None = None) -> Sequence[StoredDecision]:
        """Return the newest decisions, newest first, older than the id `before` if given."""
        at_least("limit", limit, 1)
        if before is not None:
            checked_id("before", before)
        with self._lock:
            self._refuse_closed()
            return [self._entries[key].stored() for key in islice(self._ids.below(before), min(limit, sys.maxsize))]

    def events_after(self, seq: int, *, limit: int = 512) -> Sequence[LearningEvent]:
        """Return the events after `seq` that are not forgotten, at most `limit`, in order."""
        at_least("seq", seq, 0)
        at_least("limit", limit, 1)
        with self._lock:
            self._refuse_closed()
            return [self._events[key] for key in islice(self._seqs.above(seq), min(limit, sys.maxsize))]

    def last_seq(self) -> int:
        """Return the `seq` of the newest event; 0 where there was none."""
        with self._lock:
            self._refuse_closed()
            return self._last_seq

    def wait_for_events(self, seq: int, *, timeout_s: float, change: int | None = None) -> bool:
        """Return True as soon as there are events after `seq`; False after `timeout_s`, or when closed.

        With `change`, also as soon as there is a change of the pool after that number.
        """
        at_least("seq", seq, 0)
        non_negative("timeout_s", timeout_s)
        with self._lock:
            self._refuse_closed()
        return self._tail.wait(seq, change=change, timeout_s=timeout_s)

    def spent_usd(self, *, since_s: float, until_seq: int | None = None) -> Mapping[str, float]:
        """Return what the remembered events since `since_s`, up to `until_seq`, have cost, by key that asked."""
        finite("since_s", since_s)
        last = sys.maxsize if until_seq is None else at_least("until_seq", until_seq, 0)
        spent: dict[str, float] = {}
        with self._lock:
            self._refuse_closed()
            for event in self._events.values():
                if event.seq <= last and event.created_at_s >= since_s and event.charge_usd > 0:
                    spent[event.key_id] = spent.get(event.key_id, 0.0) + event.charge_usd
        return spent

    def append_pool_change(self, change: PoolChange) -> None:
        """Keep an LLM's addition or removal."""
        pool_change_body(change)  # Refuses what a durable store could not keep.
        with self._lock:
            self._refuse_closed()
            self._last_change += 1
            placed = PlacedChange(number=self._last_change, after_seq=self._last_seq, change=change)
            self._pool[change.spec.name] = placed
            self._pool.move_to_end(change.spec.name)
        self._tail.advance(0, change=placed.number)

    def pool_changes(self) -> Sequence[PoolChange]:
        """Return the newest change of each LLM that ever changed, oldest first."""
        with self._lock:
            self._refuse_closed()
            return [placed.change for placed in self._pool.values() if isinstance(placed.change, PoolChange)]

    def placed_changes(self, number: int, *, limit: int = 512) -> Sequence[PlacedChange]:
        """Return the newest change of each LLM, and of what is known, after `number`, at most `limit`, in order."""
        at_least("number", number, 0)
        at_least("limit", limit, 1)
        with self._lock:
            self._refuse_closed()
            changes = [*self._pool.values(), *([] if self._announced is None else [self._announced])]
            newer = sorted((placed for placed in changes if placed.number > number), key=lambda placed: placed.number)
            return newer[: min(limit, sys.maxsize)]

    def save_state(self, state: LearnedState, *, announce: bool = False) -> None:
        """Keep a checkpoint, and forget what is older than the parameters say.

        With `announce`, everyone who follows the store is told to take it over.
        """
        number = 0
        with self._lock:
            self._refuse_closed()
            self._states[state.version] = state
            self._states.move_to_end(state.version)
            self._quarantined.pop(state.version, None)
            if announce:
                number = self._last_change = self._last_change + 1
                change = StateChange(version=state.version, created_at_s=state.created_at_s)
                self._announced = PlacedChange(number=number, after_seq=self._last_seq, change=change)
            self._forget_states()
        self._tail.advance(0, change=number)

    def load_state(self, version: int | None = None) -> LearnedState | None:
        """Return the checkpoint of `version`, or the one saved last that is not quarantined; else None."""
        with self._lock:
            self._refuse_closed()
            if version is None:
                version = next((one for one in reversed(self._states) if one not in self._quarantined), None)
            return None if version is None else self._states.get(version)

    def state_versions(self) -> Sequence[int]:
        """Return the versions of the kept checkpoints that are not quarantined, oldest first."""
        return [state.version for state in self.states() if state.quarantined is None]

    def states(self) -> Sequence[StateInfo]:
        """Return what is known of every kept checkpoint, quarantined ones too, oldest first."""
        with self._lock:
            self._refuse_closed()
            return [
                StateInfo(
                    version=state.version,
                    position=state.position,
                    created_at_s=state.created_at_s,
                    size_bytes=len(state.payload),
                    quarantined=self._quarantined.get(state.version),
                )
                for state in self._states.values()
            ]

    def quarantine_state(self, version: int, reason: str) -> None:
        """Mark a checkpoint as not to be used, and keep it."""
        with self._lock:
            self._refuse_closed()
            if version in self._states:
                self._quarantined[version] = reason

    def release_state(self, version: int) -> None:
        """Take the mark of `quarantine_state` away."""
        with self._lock:
            self._refuse_closed()
            self._quarantined.pop(version, None)

    def flush(self) -> None:
        """Return at once: everything appended is in memory."""
        with self._lock:
            self._refuse_closed()

    def counts(self) -> Mapping[str, int]:
        """Return how many ``decisions``, ``outcomes``, ``feedback`` are remembered, and how many were ``dropped``."""
        with self._lock:
            self._refuse_closed()
            return {
                "decisions": len(self._entries),
                "outcomes": self._outcomes,
                "feedback": len(self._feedback),
                "dropped": self._dropped,
            }

    def close(self) -> None:
        """Wake those who wait; later calls raise `StoreClosedError`."""
        with self._lock:
            self._closed = True
        self._tail.close()

    def _keep_feedback(self, feedback: Feedback) -> FeedbackReceipt:
        with self._lock:
            self._refuse_closed()
            known = self._feedback.get(feedback.feedback_id)
            if known is not None:
                if same_judgement(known, feedback):
                    return FeedbackReceipt(feedback_id=feedback.feedback_id, duplicate=True)
                raise ConflictingEventError(feedback.feedback_id)
            entry = self._entries.get(feedback.decision_id)
            if entry is None:
                raise UnknownDecisionError(feedback.decision_id)
            self._feedback[feedback.feedback_id] = feedback
            entry.feedback[feedback.feedback_id] = feedback
            seq = self._next_seq(entry)
            self._events[seq] = _learning_event(entry, seq=seq, llm=entry.answered_by, event=feedback)
        self._tail.advance(seq)
        return FeedbackReceipt(feedback_id=feedback.feedback_id, duplicate=False)

    def _next_seq(self, entry: _Entry) -> int:
        self._last_seq += 1
        self._seqs.add(self._last_seq)
        entry.seqs.append(self._last_seq)
        return self._last_seq

    def _forget_oldest(self) -> None:
        _, entry = self._entries.popitem(last=False)
        for seq in entry.seqs:
            del self._events[seq]
        for feedback_id in entry.feedback:
            del self._feedback[feedback_id]
        self._outcomes -= len(entry.outcomes)

    def _forget_states(self) -> None:
        usable = [state for state in self._states.values() if state.version not in self._quarantined]
        last_of_day: dict[float, int] = {}
        for state in reversed(usable):
            if len(last_of_day) < self._keep_daily_states:
                last_of_day.setdefault(state.created_at_s // _DAY_S, state.version)
        kept = {state.version for state in usable[-self._keep_states :]}.union(last_of_day.values())
        if self._announced is not None and isinstance(self._announced.change, StateChange):
            kept.add(self._announced.change.version)
        for state in usable:
            if state.version not in kept:
                del self._states[state.version]

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreClosedError


def _learning_event(entry: _Entry, *, seq: int, llm: str, event: OutcomeEvent | Feedback) -> LearningEvent:
    decision = entry.record.decision
    return LearningEvent(
        seq=seq,
        decision_id=decision.decision_id,
        llm=llm,
        encoding=entry.record.encoding,
        tokens_in=decision.tokens_in,
        outcome=event.outcome if isinstance(event, OutcomeEvent) else None,
        feedback=event if isinstance(event, Feedback) else None,
        created_at_s=event.created_at_s,
        key_id=decision.key_id,
        out_of_domain=decision.out_of_domain,
        in_flight=decision.in_flight,
    )
