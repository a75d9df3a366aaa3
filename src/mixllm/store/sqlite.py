"""The durable store: one SQLite file."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from mixllm.errors import InvalidValueError, StoreClosedError, UnknownDecisionError
from mixllm.store.checks import at_least, checked_id, is_id, seconds
from mixllm.store.database import SQLITE_FAULTS, open_writer, store_fault
from mixllm.store.intake import Intake
from mixllm.store.readers import Readers
from mixllm.store.reading import (
    has_decision,
    read_decision,
    read_decisions,
    read_events,
    read_last_change,
    read_last_seq,
    read_placed_changes,
    read_pool_changes,
    read_spent_usd,
    read_state,
    read_states,
    read_totals,
)
from mixllm.store.rows import checked_feedback, pool_change_body
from mixllm.store.tail import Tail
from mixllm.store.writer import Writer
from mixllm.types import (
    DecisionRecord,
    Feedback,
    FeedbackReceipt,
    LearnedState,
    LearningEvent,
    OutcomeEvent,
    PlacedChange,
    PoolChange,
    StateInfo,
    StoredDecision,
    StoreHealth,
)
from mixllm.units import finite, non_negative

__all__ = ["SQLiteStore"]

_OTHERS_POLL_S = 0.5
"""How often a wait for events looks for events that another process has written."""

_MAX_DELAY_S = 60.0
_MAX_BUSY_S = 3600.0

_FORGET_STATES = """
DELETE FROM states WHERE quarantined IS NULL
AND seq NOT IN (SELECT seq FROM states WHERE quarantined IS NULL ORDER BY seq DESC LIMIT ?)
AND seq NOT IN (
    SELECT max(seq) FROM states WHERE quarantined IS NULL
    GROUP BY cast(created_at_s / 86400 AS INTEGER) ORDER BY max(seq) DESC LIMIT ?
)
AND version NOT IN (SELECT version FROM state_changes ORDER BY number DESC LIMIT 1)
"""


_INSERT_CHANGE = """
INSERT INTO pool_changes (llm, active, created_at_s, body, after_seq, seq)
VALUES (?, ?, ?, ?, (SELECT coalesce(max(seq), 0) FROM events), ?)
"""

_ANNOUNCE = """
INSERT INTO state_changes (version, created_at_s, after_seq, number)
VALUES (?, ?, (SELECT coalesce(max(seq), 0) FROM events), ?)
"""


class SQLiteStore:
    """A `mixllm.interfaces.Store` in one SQLite file.

    One thread writes, in group commits; reads have connections of their own and never wait for it. Several processes
    may open the same file, e.g. a gateway and a command that reads.

    Parameters
    ----------
    path
        The file; made where it does not exist. Its folder must exist, on a local disk.
    max_commit_delay_s
        How long what is appended may wait for a commit. 0 commits at once.
    max_batch
        Most items of one commit.
    max_queue
        Most decisions, outcomes and feedback that wait in memory.
    max_queue_bytes
        Most bytes of encodings, prompts and feedback that wait in memory.
    busy_timeout_s
        How long a transaction waits for another process's lock before it fails.
    keep_states
        How many of the newest checkpoints of learned state are kept.
    keep_daily_states
        On how many days (UTC) the day's last checkpoint is kept too.

    Raises
    ------
    InvalidValueError
        Where a parameter is out of range.
    StoreError
        Where the file is damaged, is no store, was written by a newer version, or cannot be opened. The file is left
        as it was.

    Notes
    -----
    **What is durable when.** `append_decision` and `append_outcome` return at once; the writer commits them within
    `max_commit_delay_s` plus the time of the commit that is running. The future of `append_feedback` resolves after
    the commit that holds it is on the disk (``synchronous=FULL``), and `append_pool_change`, `save_state` and `flush`
    return after theirs. Commits keep the order of the appends, so a decision is durable no later than feedback on it.
    A killed process or a power loss therefore loses at most the decisions and outcomes of the last
    `max_commit_delay_s` and of the running commit (under overload: those that wait, at most `max_queue`), and never
    feedback that was acknowledged.

    **A full queue.** Where `max_queue` or `max_queue_bytes` is reached (the disk fails, or is slower than the load), a
    new decision or outcome is dropped and counted; the request path never waits, and what was accepted before stays.
    New feedback is refused: its future fails with `StoreError`, and the sender tries again. Both are logged once.

    **A disk that is full, a file that is locked.** The futures of the feedback in that transaction and in the queue
    fail with `StoreError`, so do waiting `flush`, `save_state` and `append_pool_change`; decisions and outcomes stay
    queued and are tried again until the fault is gone. `close` tries once more, and raises `StoreError` where something
    is lost.

    **Events.** `events_after` gives events in the order of their commits: once an event is seen, no event with a lower
    `seq` appears, also where several processes write. The LLM of a feedback's event is that of the newest ``ok``
    outcome stored before the feedback, else the decision's; it is fixed when the feedback is stored, so that learning
    from the same events again gives the same. The first of repeated decisions or outcomes counts.

    **Checkpoints.** The newest checkpoint is the one saved last. Saving a version again replaces it. Quarantined ones
    are never forgotten, and do not count.

    Prompts are in the file only where `DecisionRecord.prompt` is set.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = SQLiteStore(path=Path(folder) / "mixllm.db")
    ...     store.save_state(LearnedState(version=1, position=0, created_at_s=0.0, payload=b"learned"))
    ...     store.close()
    ...     store = SQLiteStore(path=Path(folder) / "mixllm.db")
    ...     store.load_state().payload
    ...     store.close()
    b'learned'
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        max_commit_delay_s: float = 0.02,
        max_batch: int = 512,
        max_queue: int = 16_384,
        max_queue_bytes: int = 256 * 1024 * 1024,
        busy_timeout_s: float = 5.0,
        keep_states: int = 10,
        keep_daily_states: int = 7,
    ) -> None:
        if not os.fspath(path) or os.fspath(path) == ":memory:" or "\0" in os.fspath(path):
            raise InvalidValueError("path", path, "the path of a file (MemoryStore keeps everything in memory)")
        self._path = Path(path)
        self._max_commit_delay_s = seconds("max_commit_delay_s", max_commit_delay_s, most=_MAX_DELAY_S)
        self._max_batch = at_least("max_batch", max_batch, 1)
        self._max_queue = at_least("max_queue", max_queue, 1)
        self._max_queue_bytes = at_least("max_queue_bytes", max_queue_bytes, 1)
        self._busy_timeout_s = seconds("busy_timeout_s", busy_timeout_s, most=_MAX_BUSY_S)
        self._keep_states = at_least("keep_states", keep_states, 1)
        self._keep_daily_states = at_least("keep_daily_states", keep_daily_states, 0)

        connection = open_writer(self._path, busy_timeout_s=self._busy_timeout_s)
        try:
            self._tail = Tail(last_seq=read_last_seq(connection), last_change=read_last_change(connection))
        except SQLITE_FAULTS as error:
            connection.close()
            raise store_fault(self._path, error) from error
        self._intake = Intake(
            max_batch=self._max_batch,
            max_queue=self._max_queue,
            max_queue_bytes=self._max_queue_bytes,
            max_delay_s=self._max_commit_delay_s,
        )
        self._readers = Readers(path=self._path, busy_timeout_s=self._busy_timeout_s)
        self._writer = Writer(connection=connection, path=self._path, intake=self._intake, tail=self._tail)
        # Also runs where the store is forgotten, or at the end of the program, without a call of close().
        self._release = weakref.finalize(self, _release, self._writer, self._readers, self._tail)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def health(self) -> StoreHealth:
        """Return whether the file can be written; asks nobody."""
        return StoreHealth(place=str(self._path), problem=self._writer.problem, dropped=self._writer.dropped)

    def append_decision(self, record: DecisionRecord) -> None:
        """Queue a decision; returns at once.

        A decision of a known id is dropped and counted, and so is a new one while the queue is full.

        Raises
        ------
        InvalidValueError
            Where its id is empty, longer than 600 characters or no valid text.
        """
        checked_id("decision_id", record.decision.decision_id)
        self._writer.append(record)

    def append_outcome(self, event: OutcomeEvent) -> None:
        """Queue the facts of a call; returns at once.

        A repeated outcome (same decision and attempt) and one of an unknown decision is dropped and counted, and so is
        a new one while the queue is full.
        """
        if is_id(event.decision_id):
            self._writer.append(event)
        else:
            self._intake.refuse_closed()
            self._writer.count_dropped(1)

    def append_feedback(self, feedback: Feedback) -> Future[FeedbackReceipt]:
        """Queue a judgement; returns a future that resolves once it is durable.

        Callbacks of the future run on the store's writing thread: keep them short. The future cannot be cancelled.

        Raises
        ------
        InvalidValueError
            Where an id or a text cannot be kept.
        StoreError
            Raised by the future: `UnknownDecisionError`; `ConflictingEventError`; a `StoreError` where the file cannot
            be written now or the queue is full, after which the same feedback may be sent again.
        """
        normal, body = checked_feedback(feedback)
        return self._writer.append_feedback(normal, body)

    def decision(self, decision_id: str) -> StoredDecision:
        """Return all that is known of a decision, also what is still queued."""
        self._intake.refuse_closed()
        if not is_id(decision_id):
            raise UnknownDecisionError(decision_id)
        with self._readers.connection() as connection:
            known_before = has_decision(connection, decision_id)
            # The queue before the file: what is committed in between is then seen twice, never not at all.
            held = self._intake.held(decision_id)
            known = read_decision(connection, decision_id)
        known.add_held(held, known_before=known_before)
        stored = known.stored()
        if stored is None:
            raise UnknownDecisionError(decision_id)
        return stored

    def decisions(self, *, limit: int = 100, before: str | None = None) -> Sequence[StoredDecision]:
        """Return the newest durable decisions, newest first, older than the id `before` if given."""
        at_least("limit", limit, 1)
        if before is not None:
            checked_id("before", before)
        with self._readers.connection() as connection:
            return read_decisions(connection, limit=limit, before=before)

    def events_after(self, seq: int, *, limit: int = 512) -> Sequence[LearningEvent]:
        """Return the durable events after `seq`, at most `limit`, in order."""
        at_least("seq", seq, 0)
        at_least("limit", limit, 1)
        with self._readers.connection() as connection:
            return read_events(connection, seq, limit=limit)

    def last_seq(self) -> int:
        """Return the `seq` of the newest durable event; 0 where there is none."""
        with self._readers.connection() as connection:
            return read_last_seq(connection)

    def wait_for_events(self, seq: int, *, timeout_s: float, change: int | None = None) -> bool:
        """Return True as soon as there are durable events after `seq`; False after `timeout_s`, or when closed.

        With `change`, also as soon as there is a change of the pool after that number. A commit of this store wakes it
        at once; what another process writes is noticed within half a second.
        """
        at_least("seq", seq, 0)
        non_negative("timeout_s", timeout_s)
        self._intake.refuse_closed()
        deadline_s = time.monotonic() + timeout_s
        while True:
            remaining_s = max(0.0, deadline_s - time.monotonic())
            if self._tail.wait(seq, change=change, timeout_s=min(remaining_s, _OTHERS_POLL_S)):
                return True
            try:
                with self._readers.connection() as connection:
                    self._tail.advance(read_last_seq(connection), change=read_last_change(connection))
            except StoreClosedError:
                return False
            if remaining_s <= _OTHERS_POLL_S:
                return self._tail.wait(seq, change=change, timeout_s=0.0)

    def spent_usd(self, *, since_s: float, until_seq: int | None = None) -> Mapping[str, float]:
        """Return what the durable events since `since_s`, up to `until_seq` if given, have cost, by key that asked.

        An index answers it: the time grows with the events since `since_s` that cost something.
        """
        finite("since_s", since_s)
        if until_seq is not None:
            at_least("until_seq", until_seq, 0)
        with self._readers.connection() as connection:
            return read_spent_usd(connection, since_s=since_s, until_seq=until_seq)

    def append_pool_change(self, change: PoolChange) -> None:
        """Keep an LLM's addition or removal; returns when durable."""
        row = (change.spec.name, change.active, change.created_at_s, pool_change_body(change))

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_INSERT_CHANGE, (*row, read_last_change(connection) + 1))

        self._writer.call(write)
        self._tail.advance(0, change=self._last_change())

    def pool_changes(self) -> Sequence[PoolChange]:
        """Return the newest change of each LLM that ever changed, oldest first."""
        with self._readers.connection() as connection:
            return read_pool_changes(connection)

    def placed_changes(self, number: int, *, limit: int = 512) -> Sequence[PlacedChange]:
        """Return the changes after `number`, of the pool and of what is known, at most `limit`, in order."""
        at_least("number", number, 0)
        at_least("limit", limit, 1)
        with self._readers.connection() as connection:
            return read_placed_changes(connection, number, limit=limit)

    def save_state(self, state: LearnedState, *, announce: bool = False) -> None:
        """Keep a checkpoint, and forget what is older than the parameters say; returns when durable.

        With `announce`, everyone who follows the store is told to take it over.
        """
        row = (state.version, state.position, state.created_at_s, state.payload)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO states (version, position, created_at_s, payload) VALUES (?, ?, ?, ?)", row
            )
            if announce:
                connection.execute(_ANNOUNCE, (state.version, state.created_at_s, read_last_change(connection) + 1))
            connection.execute(_FORGET_STATES, (self._keep_states, self._keep_daily_states))

        self._writer.call(write)
        if announce:
            self._tail.advance(0, change=self._last_change())

    def load_state(self, version: int | None = None) -> LearnedState | None:
        """Return the checkpoint of `version`, or the one saved last that is not quarantined; else None."""
        with self._readers.connection() as connection:
            return read_state(connection, version)

    def state_versions(self) -> Sequence[int]:
        """Return the versions of the kept checkpoints that are not quarantined, oldest first."""
        return [state.version for state in self.states() if state.quarantined is None]

    def states(self) -> Sequence[StateInfo]:
        """Return what is known of every kept checkpoint, quarantined ones too, oldest first."""
        with self._readers.connection() as connection:
            return read_states(connection)

    def quarantine_state(self, version: int, reason: str) -> None:
        """Mark a checkpoint as not to be used, and keep it; returns when durable."""
        self._mark_state(version, reason)

    def release_state(self, version: int) -> None:
        """Take the mark of `quarantine_state` away; returns when durable."""
        self._mark_state(version, None)

    def flush(self) -> None:
        """Return when everything appended so far is durable; raises `StoreError` where the file cannot be written."""
        self._writer.call(lambda _connection: None)

    def counts(self) -> Mapping[str, int]:
        """Return how many ``decisions``, ``outcomes`` and ``feedback`` are durable, and how many were ``dropped``.

        Dropped are those decisions and outcomes that this object was given and did not keep.
        """
        with self._readers.connection() as connection:
            return {**read_totals(connection), "dropped": self._writer.dropped}

    def _last_change(self) -> int:
        with self._readers.connection() as connection:
            return read_last_change(connection)

    def _mark_state(self, version: int, reason: str | None) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE states SET quarantined = ? WHERE version = ?", (reason, version))

        self._writer.call(write)

    def close(self) -> None:
        """Write what is queued and release everything; later calls raise `StoreClosedError`.

        Raises
        ------
        StoreError
            Where something queued could not be written. The store is closed all the same.
        """
        self._release()


def _release(writer: Writer, readers: Readers, tail: Tail) -> None:
    """Close all parts; it must not know the store, which could not be forgotten otherwise."""
    try:
        writer.close()
    finally:
        tail.close()
        readers.close()
