"""The store that several gateways share: a schema of a PostgreSQL database."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

from mixllm.errors import StoreError, UnknownDecisionError
from mixllm.store.checks import at_least, checked_id, is_id, seconds
from mixllm.store.intake import Fact, Intake
from mixllm.store.postgres.commands import append_pool_change, mark_state, save_state
from mixllm.store.postgres.database import Connection, Database
from mixllm.store.postgres.facts import DecisionFact, OutcomeFact, WrittenFact
from mixllm.store.postgres.link import Link
from mixllm.store.postgres.listener import Listener
from mixllm.store.postgres.opening import greeting, opened
from mixllm.store.postgres.readers import Readers
from mixllm.store.postgres.reading import (
    has_decision,
    read_decision,
    read_decisions,
    read_ends,
    read_events,
    read_placed_changes,
    read_pool_changes,
    read_spent_usd,
    read_state,
    read_states,
    read_totals,
)
from mixllm.store.postgres.spool import Spool
from mixllm.store.postgres.start_file import StartFile
from mixllm.store.postgres.watchdog import Watchdog
from mixllm.store.postgres.writer import Writer
from mixllm.store.reading import KnownDecision
from mixllm.store.rows import (
    checked_feedback,
    decision_from_body,
    feedback_from_body,
    outcome_from_body,
    pool_change_body,
)
from mixllm.store.tail import Tail
from mixllm.types import (
    DecisionRecord,
    Feedback,
    FeedbackReceipt,
    KeptStart,
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

__all__ = ["PostgresStore"]

_T = TypeVar("_T")

_MAX_DELAY_S = 60.0
_MAX_PATIENCE_S = 3600.0
_ANSWER_S = 10.0
"""How long the server may take to answer what is written; then it counts as away."""


class PostgresStore:
    """A `mixllm.interfaces.Store` in one schema of a PostgreSQL database, which any number of processes may open.

    One thread writes, in group commits; one listens to what the other processes write; reads have connections of their
    own. While the database is away, routing goes on: what is appended waits in a spool on the local disk.

    Parameters
    ----------
    url
        ``postgresql://user@host:port/name``. A missing password is taken from ``PGPASSWORD`` or the password file.
    schema
        Name of the schema that holds the tables; made where it does not exist.
    spool
        Folder for what is appended while the database is away, on a local disk; made when it is needed. None: such
        decisions and outcomes wait in memory, and feedback is refused.
    max_spool_bytes
        Most bytes that are spooled.
    max_commit_delay_s
        How long what is appended may wait for a commit. 0 commits at once.
    max_batch
        Most items of one commit.
    max_queue
        Most decisions, outcomes and feedback that wait in memory.
    max_queue_bytes
        Most bytes of encodings, prompts and feedback that wait in memory.
    max_connections
        Most connections that read; two more write and listen.
    connect_patience_s
        How long opening waits for a server that cannot be reached yet, where nothing is kept for a start without it.
    keep_states
        How many of the newest checkpoints of learned state are kept.
    keep_daily_states
        On how many days (UTC) the day's last checkpoint is kept too.

    Raises
    ------
    InvalidValueError
        Where a parameter is out of range.
    StoreError
        Where the database cannot be reached or used, or a newer version has written it.

    Notes
    -----
    **What is durable when.** As in `mixllm.store.SQLiteStore`: `append_decision` and `append_outcome` return at once
    and are committed within `max_commit_delay_s` plus the time of the commit that is running; the future of
    `append_feedback` resolves after its commit, and `append_pool_change`, `save_state` and `flush` return after theirs.
    What a commit survives is what the server's ``synchronous_commit`` says.

    **Events.** `events_after` gives them in the order of their commits, whichever process wrote them: a writer takes
    `seq` from a row whose lock it holds until its commit (see `mixllm.store.postgres.transaction`).

    **A database that is away.** Decisions, outcomes and feedback go into the spool, each commit of which is on the
    disk; feedback is acknowledged then. When the database is back, the spool is written to it first, in order, and only
    then what is newer. All ids are idempotent, so that what was written twice counts once. Whether a spooled feedback
    is on a known decision, or repeats or contradicts one of another process, is found when it is shipped: it is left
    out then, and the log tells. Reading, checkpoints and changes of the pool raise `StoreError` meanwhile, at once.
    Where the spool is full, new decisions and outcomes are dropped and counted, and feedback is refused.

    **A start without it.** Where the database is away when the store is opened, and the spool's folder holds what
    `keep_start` was given, the store begins as one whose database has just gone away, and `kept_start` tells what was
    known. Where there is nothing of the kind, opening fails.

    A connection pooler in front of the server must keep sessions (``pool_mode = session``): notifications need it.
    """

    def __init__(
        self,
        *,
        url: str,
        schema: str = "mixllm",
        spool: Path | str | None = None,
        max_spool_bytes: int = 1024**3,
        max_commit_delay_s: float = 0.02,
        max_batch: int = 512,
        max_queue: int = 16_384,
        max_queue_bytes: int = 256 * 1024 * 1024,
        max_connections: int = 8,
        connect_patience_s: float = 10.0,
        keep_states: int = 10,
        keep_daily_states: int = 7,
    ) -> None:
        self._database = Database(url=url, schema=schema)
        self._keep_states = at_least("keep_states", keep_states, 1)
        self._keep_daily_states = at_least("keep_daily_states", keep_daily_states, 0)
        self._intake = Intake(
            max_batch=at_least("max_batch", max_batch, 1),
            max_queue=at_least("max_queue", max_queue, 1),
            max_queue_bytes=at_least("max_queue_bytes", max_queue_bytes, 1),
            max_delay_s=seconds("max_commit_delay_s", max_commit_delay_s, most=_MAX_DELAY_S),
        )
        self._readers = Readers(database=self._database, most=at_least("max_connections", max_connections, 1))
        patience_s = seconds("connect_patience_s", connect_patience_s, most=_MAX_PATIENCE_S)
        self._spool = Spool(
            folder=None if spool is None else Path(spool), max_bytes=at_least("max_spool_bytes", max_spool_bytes, 1)
        )
        self._start_file = StartFile(
            folder=None if spool is None else Path(spool), place=self._database.place, max_bytes=max_spool_bytes
        )
        self._opened = opened(self._database, self._start_file, patience_s=patience_s)
        self._link = Link(place=self._database.place, problem=self._opened.problem)
        self._tail = Tail(last_seq=self._opened.last_seq, last_change=self._opened.last_change)
        self._watchdog = Watchdog(limit_s=_ANSWER_S)
        self._listener = Listener(
            database=self._database,
            tail=self._tail,
            link=self._link,
            watchdog=self._watchdog,
            greet=greeting(self._database, self._opened),
        )
        self._writer = Writer(
            database=self._database,
            intake=self._intake,
            tail=self._tail,
            link=self._link,
            spool=self._spool,
            watchdog=self._watchdog,
        )
        # Also runs where the store is forgotten, or at the end of the program, without a call of close().
        self._release = weakref.finalize(
            self, _release, self._writer, self._listener, self._readers, self._tail, self._watchdog
        )

    @property
    def place(self) -> str:
        """What the database is called, without user and password."""
        return self._database.place

    def health(self) -> StoreHealth:
        """Return whether the database answers, and how much waits for it; asks nobody."""
        return StoreHealth(
            place=self.place,
            problem=self._link.problem or self._writer.problem,
            spooled=self._spool.held,
            spooled_bytes=self._spool.held_bytes,
            dropped=self._writer.dropped,
        )

    def append_decision(self, record: DecisionRecord) -> None:
        """Queue a decision; returns at once.

        A decision of a known id is dropped and counted, and so is a new one while the queue or the spool is full.

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
        a new one while the queue or the spool is full.
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
            Raised by the future: `UnknownDecisionError`; `ConflictingEventError`; a `StoreError` where neither the
            database nor the spool takes it, after which the same feedback may be sent again.
        """
        normal, body = checked_feedback(feedback)
        return self._writer.append_feedback(normal, body)

    def decision(self, decision_id: str) -> StoredDecision:
        """Return all that is known of a decision, also what is still queued or spooled.

        Raises
        ------
        UnknownDecisionError
            Where it is not known.
        StoreError
            Where the database is away and this process knows nothing of it.
        """
        self._intake.refuse_closed()
        if not is_id(decision_id):
            raise UnknownDecisionError(decision_id)
        known_before, held, spooled, known = self._parts(decision_id)
        for fact in spooled:
            _add_fact(known, fact)
        known.add_held(held, known_before=known_before)
        stored = known.stored()
        if stored is None:
            raise UnknownDecisionError(decision_id)
        return stored

    def decisions(self, *, limit: int = 100, before: str | None = None) -> Sequence[StoredDecision]:
        """Return the newest decisions of the database, newest first, older than the id `before` if given."""
        at_least("limit", limit, 1)
        if before is not None:
            checked_id("before", before)
        return self._read(partial(read_decisions, limit=limit, before=before))

    def events_after(self, seq: int, *, limit: int = 512) -> Sequence[LearningEvent]:
        """Return the events of the database after `seq`, at most `limit`, in order."""
        at_least("seq", seq, 0)
        at_least("limit", limit, 1)
        return self._read(lambda connection: read_events(connection, seq, limit=limit))

    def last_seq(self) -> int:
        """Return the `seq` of the newest event of the database; 0 where there is none."""
        return self._read(read_ends)[0]

    def wait_for_events(self, seq: int, *, timeout_s: float, change: int | None = None) -> bool:
        """Return True as soon as there are events after `seq`; False after `timeout_s`, or when closed.

        With `change`, also as soon as there is a change of the pool after that number. What any process commits is
        noticed at once; where a notification is lost, within half a second.
        """
        at_least("seq", seq, 0)
        non_negative("timeout_s", timeout_s)
        self._intake.refuse_closed()
        return self._tail.wait(seq, change=change, timeout_s=timeout_s)

    def spent_usd(self, *, since_s: float, until_seq: int | None = None) -> Mapping[str, float]:
        """Return what the events since `since_s`, up to `until_seq` if given, have cost, by key that asked.

        An index answers it: the time grows with the events since `since_s` that cost something.
        """
        finite("since_s", since_s)
        if until_seq is not None:
            at_least("until_seq", until_seq, 0)
        return self._read(partial(read_spent_usd, since_s=since_s, until_seq=until_seq))

    def append_pool_change(self, change: PoolChange) -> None:
        """Keep an LLM's addition or removal; returns when durable."""
        body = pool_change_body(change)
        self._writer.call(partial(append_pool_change, change=change, body=body, channel=self._database.channel))

    def pool_changes(self) -> Sequence[PoolChange]:
        """Return the newest change of each LLM that ever changed, oldest first."""
        return self._read(read_pool_changes)

    def placed_changes(self, number: int, *, limit: int = 512) -> Sequence[PlacedChange]:
        """Return the changes after `number`, of the pool and of what is known, at most `limit`, in order."""
        at_least("number", number, 0)
        at_least("limit", limit, 1)
        return self._read(lambda connection: read_placed_changes(connection, number, limit=limit))

    def save_state(self, state: LearnedState, *, announce: bool = False) -> None:
        """Keep a checkpoint, and forget what is older than the parameters say; returns when durable.

        With `announce`, everyone who follows the store is told to take it over.
        """
        keep, keep_daily = self._keep_states, self._keep_daily_states
        channel = self._database.channel if announce else None
        self._writer.call(partial(save_state, state=state, keep=keep, keep_daily=keep_daily, announce=channel))

    def load_state(self, version: int | None = None) -> LearnedState | None:
        """Return the checkpoint of `version`, or the one saved last that is not quarantined; else None."""
        return self._read(partial(read_state, version=version))

    def state_versions(self) -> Sequence[int]:
        """Return the versions of the kept checkpoints that are not quarantined, oldest first."""
        return [state.version for state in self.states() if state.quarantined is None]

    def states(self) -> Sequence[StateInfo]:
        """Return what is known of every kept checkpoint, quarantined ones too, oldest first."""
        return self._read(read_states)

    def quarantine_state(self, version: int, reason: str) -> None:
        """Mark a checkpoint as not to be used, and keep it; returns when durable."""
        self._writer.call(partial(mark_state, version=version, reason=reason))

    def release_state(self, version: int) -> None:
        """Take the mark of `quarantine_state` away; returns when durable."""
        self._writer.call(partial(mark_state, version=version, reason=None))

    def keep_start(self, start: KeptStart) -> None:
        """Keep `start` beside the spool, unless what is there is as new; a disk that does not take it is logged."""
        self._start_file.write(start, log_id=self._opened.log_id)

    def kept_start(self) -> KeptStart | None:
        """Return what `keep_start` was given, where the database was away when the store was opened; else None."""
        return self._opened.kept

    def flush(self) -> None:
        """Return when everything appended so far is durable: in the database, or spooled while that is away."""
        self._writer.flush()

    def counts(self) -> Mapping[str, int]:
        """Return how many ``decisions``, ``outcomes`` and ``feedback`` are durable, and how many were ``dropped``.

        Dropped are those decisions and outcomes that this object was given and did not keep.
        """
        return {**self._read(read_totals), "dropped": self._writer.dropped}

    def close(self) -> None:
        """Write what is queued and release everything; later calls raise `StoreClosedError`.

        Raises
        ------
        StoreError
            Where something queued is lost. The store is closed all the same.
        """
        self._release()

    def _read(self, question: Callable[[Connection], _T]) -> _T:
        self._readers.refuse_closed()
        self._link.refuse_down()
        return self._readers.read(question)

    def _parts(self, decision_id: str) -> tuple[bool, list[Fact], Sequence[WrittenFact], KnownDecision]:
        """Return whether the database knows a decision, what is queued and spooled of it, and what the database knows.

        The queue before the spool, and both before the database: what moves on in between is then seen twice, never not
        at all.
        """
        known_before = self._link.problem is None and self._read(
            lambda connection: has_decision(connection, decision_id)
        )
        held = self._intake.held(decision_id)
        spooled = self._spool.facts_of(decision_id)
        local = any(isinstance(item, DecisionRecord) for item in held) or any(
            isinstance(fact, DecisionFact) for fact in spooled
        )
        try:
            known = self._read(lambda connection: read_decision(connection, decision_id))
        except StoreError:
            if not local:
                raise
            known = KnownDecision()
        return known_before, held, spooled, known


def _add_fact(known: KnownDecision, fact: WrittenFact) -> None:
    if isinstance(fact, DecisionFact):
        known.add_decision(decision_from_body(fact.body), None if fact.prompt is None else fact.prompt.decode())
    elif isinstance(fact, OutcomeFact):
        known.add_outcome(outcome_from_body(fact.body))
    else:
        known.add_feedback(feedback_from_body(fact.body))


def _release(writer: Writer, listener: Listener, readers: Readers, tail: Tail, watchdog: Watchdog) -> None:
    """Close all parts; it must not know the store, which could not be forgotten otherwise."""
    try:
        writer.close()
    finally:
        listener.close()
        tail.close()
        readers.close()
        watchdog.close()
