"""The one thread that writes: group commits into the database, or into the spool while the database is away."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import psycopg

from mixllm.errors import ConflictingEventError, StoreError, UnknownDecisionError
from mixllm.store.intake import Awaited, Command, Fact, Intake, Item, QueuedFeedback
from mixllm.store.postgres.database import ITEM_FAULTS, Connection, Database, is_lost
from mixllm.store.postgres.facts import FeedbackFact, WrittenFact, as_fact
from mixllm.store.postgres.link import Link
from mixllm.store.postgres.spool import Kept, Spool
from mixllm.store.postgres.transaction import Verdict, Written, write_facts
from mixllm.store.postgres.watchdog import Watchdog
from mixllm.store.rows import ENCODING_FAULTS
from mixllm.store.tail import Tail
from mixllm.types import DecisionRecord, Feedback, FeedbackReceipt, OutcomeEvent

__all__ = ["Writer"]

_LOG = logging.getLogger("mixllm.store")

_RETRY_S = 0.25
_SHIPPED = 2048
_LAST_S = 5.0
"""How long closing goes on shipping what is spooled; the rest stays in its file."""
_ADOPT_S = 30.0
_IDLE_S = 1.0
_WAITING_RETRY_S = 1.0
_WAITING_MOST_S = 86_400.0
"""How long a spooled feedback waits for its decision, which a gateway that does not run may have spooled."""


@dataclass(slots=True, kw_only=True)
class _Prepared:
    item: Fact
    fact: WrittenFact


class Writer:
    """Takes batches from the intake and commits them, until the intake is closed and empty.

    While the database does not take them, they go into the spool, and so does everything that comes until the spool is
    empty again: what is written is written in the order of the appends.

    Parameters
    ----------
    database
        Where to write.
    intake
        Where the batches come from.
    tail
        Told of every durable event.
    link
        Whether the database answers.
    spool
        Where facts wait while it does not.
    watchdog
        Ends waits for a server that does not answer.
    """

    def __init__(
        self, *, database: Database, intake: Intake, tail: Tail, link: Link, spool: Spool, watchdog: Watchdog
    ) -> None:
        self._database = database
        self._intake = intake
        self._tail = tail
        self._link = link
        self._spool = spool
        self._watchdog = watchdog
        self._connection: Connection | None = None
        self._used_s = 0.0
        self._counting = threading.Lock()
        self._dropped = 0
        self._lost = 0
        self._problem: StoreError | None = None
        self._retry_at_s = 0.0
        self._adopt_at_s = 0.0
        self._waiting_at_s = 0.0
        self._waiting_after = 0
        self._overflowing = False
        self._in_hand: Sequence[Item] = ()
        self._thread = threading.Thread(target=self._run, name="mixllm-store-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Decisions and outcomes that were appended and are not kept."""
        return self._dropped

    @property
    def problem(self) -> str | None:
        """Why nothing can be written; None while it can."""
        problem = self._problem
        return None if problem is None else str(problem)

    def append(self, fact: DecisionRecord | OutcomeEvent) -> None:
        """Queue a decision or an outcome; it is dropped where the queue is full."""
        if self._intake.put(fact):
            return
        self.count_dropped(1)
        if not self._overflowing:
            self._overflowing = True
            _LOG.warning(
                "Store %s falls behind: its queue is full, decisions and outcomes are dropped", self._database.place
            )

    def append_feedback(self, feedback: Feedback, body: str) -> Future[FeedbackReceipt]:
        """Queue a feedback; the future fails at once where the queue is full."""
        future: Future[FeedbackReceipt] = Future()
        # From here on nobody can cancel it: a waiter that gives up must not stop the writer.
        future.set_running_or_notify_cancel()
        if not self._intake.put(QueuedFeedback(feedback=feedback, body=body, future=future)):
            future.set_exception(
                StoreError(
                    f"Store {self._database.place} falls behind and its queue is full; the feedback is not stored. "
                    "Send it again in a moment, with the same feedback_id."
                )
            )
        return future

    def call(self, run: Callable[[Connection], None]) -> None:
        """Run `run` in a transaction, after everything that is queued; return when it is durable."""
        if threading.current_thread() is self._thread:
            raise StoreError(
                "A callback of a feedback's future runs on the store's writing thread and cannot wait for it. "
                "Call the store from another thread."
            )
        command = Command(run=run, future=Future())
        command.future.set_running_or_notify_cancel()
        self._intake.put_command(command)
        command.future.result()

    def flush(self) -> None:
        """Return when everything queued is durable: in the database, or in the spool while that is away."""
        self.call(_nothing)

    def count_dropped(self, number: int) -> None:
        """Count decisions and outcomes that are not kept."""
        with self._counting:
            self._dropped += number

    def close(self) -> None:
        """Write what is queued and stop; raises `StoreError` where something is lost."""
        self._intake.close()
        if threading.current_thread() is self._thread:
            return  # Closed from a future's callback: the thread stops by itself, once the queue is empty.
        self._thread.join()
        if self._lost:
            raise StoreError(
                f"Store {self._database.place} was closed while it could not be written: {self._lost} decisions and "
                "outcomes are lost. See the log for the cause."
            )

    # ---- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._adopt()
            while (batch := self._intake.take(patience_s=self._patience_s())) is not None:
                self._in_hand = batch
                for run in _runs(batch):
                    if isinstance(run, Command):
                        self._obey(run)
                    else:
                        self._take(run)
                self._in_hand = ()
                self._ship()
                self._ship_waiting()
                self._adopt()
            self._finish()
        except BaseException as error:
            self._give_up(error)
            raise
        finally:
            if self._connection is not None:
                self._connection.close()
            self._spool.close()

    def _patience_s(self) -> float | None:
        if not self._spool.held:
            if self._spool.waiting:
                return _WAITING_RETRY_S
            return _ADOPT_S if self._spool.durable else None
        return _RETRY_S if self._problem is not None else 0.0

    def _take(self, items: Sequence[Fact]) -> None:
        """Write facts, or spool them."""
        prepared = [one for item in items if (one := self._prepared(item)) is not None]
        if not prepared:
            return
        if self._spool.held:
            self._keep(prepared)
            return
        try:
            written = self._write([one.fact for one in prepared])
        except StoreError as fault:
            self._failed(fault)
            self._keep(prepared)
            return
        self._overflowing = False
        self._intake.release(one.item for one in prepared)
        self._tail.advance(written.last_seq)
        for one, verdict in zip(prepared, written.verdicts, strict=True):
            self._answer(one.item, verdict)

    def _keep(self, prepared: Sequence[_Prepared]) -> None:
        """Spool facts while the database is away."""
        if not self._spool.durable:  # Nobody may be told then that a feedback is kept.
            awaited = [one.item for one in prepared if isinstance(one.item, QueuedFeedback)]
            self._intake.release(awaited)
            for item in awaited:
                item.future.set_exception(self._refusal())
            prepared = [one for one in prepared if not isinstance(one.item, QueuedFeedback)]
        try:
            kept = self._spool.append(one.fact for one in prepared)
        except (sqlite3.Error, OSError) as error:
            _LOG.error("The spool cannot be written, and the database is away: %s", error)
            kept = [Kept.FULL] * len(prepared)
        self._intake.release(one.item for one in prepared)
        verdicts = {
            Kept.NEW: Verdict.NEW,
            Kept.REPEATED: Verdict.REPEATED,
            Kept.CONFLICT: Verdict.CONFLICT,
            Kept.FULL: Verdict.REFUSED,
        }
        for one, state in zip(prepared, kept, strict=True):
            self._answer(one.item, verdicts[state])

    def _ship(self) -> None:
        """Write the oldest spooled facts, if there are any and it is time to try."""
        if not self._spool.held or self._link.problem is not None or time.monotonic() < self._retry_at_s:
            return
        through, facts = self._spool.read(_SHIPPED)
        try:
            written = self._write(facts)
        except StoreError as fault:
            self._failed(fault)
            return
        found = list(zip(facts, written.verdicts, strict=True))
        # Who decided may ship later than this process, or begin again only after it.
        early = [fact for fact, verdict in found if isinstance(fact, FeedbackFact) and verdict is Verdict.UNKNOWN]
        self._spool.remove(through, set_aside=early, now_s=time.time())
        self._tail.advance(written.last_seq)
        if early:
            _LOG.warning("%d spooled feedback came before their decisions and wait for them", len(early))
        # Repeated ones are kept: perhaps their commit was under way when the connection was lost.
        self._note_lost(
            fact
            for fact, verdict in found
            if verdict not in (Verdict.NEW, Verdict.REPEATED)
            and not (isinstance(fact, FeedbackFact) and verdict is Verdict.UNKNOWN)
        )
        if not self._spool.held:
            _LOG.warning("Store %s has caught up: nothing is spooled any more", self._database.place)

    def _ship_waiting(self) -> None:
        """Now and then, write the feedback whose decisions have come meanwhile."""
        now_s = time.monotonic()
        if not self._spool.waiting or self._spool.held or self._link.problem is not None or now_s < self._waiting_at_s:
            return
        self._waiting_at_s = now_s + _WAITING_RETRY_S
        # A page a turn, and round again: those whose decision never comes do not keep others back.
        waiting = self._spool.read_waiting(self._waiting_after, _SHIPPED)
        self._waiting_after = waiting[-1][0] if len(waiting) == _SHIPPED else 0
        try:
            written = self._write([fact for _, _, fact in waiting])
        except StoreError as fault:
            self._failed(fault)
            return
        self._tail.advance(written.last_seq)
        oldest_s = time.time() - _WAITING_MOST_S
        ended = [
            (number, fact, verdict)
            for (number, since_s, fact), verdict in zip(waiting, written.verdicts, strict=True)
            if verdict is not Verdict.UNKNOWN or since_s < oldest_s
        ]
        self._spool.remove_waiting(number for number, _, _ in ended)
        self._note_lost(fact for _, fact, verdict in ended if verdict not in (Verdict.NEW, Verdict.REPEATED))

    def _note_lost(self, facts: Iterable[WrittenFact]) -> None:
        lost = list(facts)
        self.count_dropped(sum(not isinstance(fact, FeedbackFact) for fact in lost))
        if lost:
            _LOG.warning("%d spooled facts cannot be kept: their decision is unknown, or their id is taken", len(lost))

    def _obey(self, command: Command) -> None:
        if command.run is _nothing:
            command.future.set_result(None)
            return
        try:
            with self._faults():
                connection = self._connected()
                command.run(connection)
                connection.commit()
        except ITEM_FAULTS as error:
            self._roll_back()
            command.future.set_exception(_unfit(error))
        except StoreError as fault:
            self._failed(fault)
            command.future.set_exception(fault)
        else:
            command.future.set_result(None)

    def _write(self, facts: Sequence[WrittenFact]) -> Written:
        """Write `facts`; those that cannot be kept are refused alone. Raises `StoreError` where nothing can be."""
        try:
            with self._faults():
                connection = self._connected()
                with self._watchdog.over(connection):
                    written = write_facts(connection, facts, channel=self._database.channel)
        except ITEM_FAULTS as error:
            self._roll_back()
            if len(facts) == 1:
                _LOG.warning("A %s cannot be kept: %s", type(facts[0]).__name__, type(error).__name__)
                return Written(verdicts=[Verdict.REFUSED])
            half = len(facts) // 2
            first, second = self._write(facts[:half]), self._write(facts[half:])
            return Written(verdicts=first.verdicts + second.verdicts, last_seq=max(first.last_seq, second.last_seq))
        if self._problem is not None:
            self._problem = None
            _LOG.warning("Store %s can be written again", self._database.place)
        return written

    def _adopt(self) -> None:
        """Now and then, take over what other processes have left behind."""
        if time.monotonic() >= self._adopt_at_s:
            self._adopt_at_s = time.monotonic() + _ADOPT_S
            adopted = self._spool.adopt()
            if adopted:
                _LOG.warning("%d facts that a stopped process had spooled are taken over", adopted)

    def _finish(self) -> None:
        """Ship what can be shipped soon; where the spool is in memory, the rest is lost."""
        end_s = time.monotonic() + _LAST_S
        self._retry_at_s = 0.0
        while self._spool.held and time.monotonic() < end_s:
            self._ship()
            if self._problem is not None or self._link.problem is not None:
                break
        if self._spool.durable and self._spool.held:
            _LOG.warning("%d facts stay in the spool; the next start ships them", self._spool.held)
        elif self._spool.held:
            self._lost += self._spool.held

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _prepared(self, item: Fact) -> _Prepared | None:
        try:
            return _Prepared(item=item, fact=as_fact(item))
        except ENCODING_FAULTS as error:
            _LOG.warning("A %s cannot be kept and is dropped: %s", type(item).__name__, type(error).__name__)
            self._intake.release([item])
            if isinstance(item, QueuedFeedback):
                item.future.set_exception(_unfit(error))
            else:
                self.count_dropped(1)
            return None

    def _answer(self, item: Fact, verdict: Verdict) -> None:
        if not isinstance(item, QueuedFeedback):
            self.count_dropped(int(verdict is not Verdict.NEW))
            return
        feedback = item.feedback
        if verdict in (Verdict.NEW, Verdict.REPEATED):
            duplicate = verdict is Verdict.REPEATED
            item.future.set_result(FeedbackReceipt(feedback_id=feedback.feedback_id, duplicate=duplicate))
        elif verdict is Verdict.UNKNOWN:
            item.future.set_exception(UnknownDecisionError(feedback.decision_id))
        elif verdict is Verdict.CONFLICT:
            item.future.set_exception(ConflictingEventError(feedback.feedback_id))
        else:
            item.future.set_exception(self._refusal())

    def _refusal(self) -> StoreError:
        return self._problem or StoreError("The store cannot keep this feedback. Correct it and send it again.")

    def _connected(self) -> Connection:
        self._link.refuse_down()
        now_s = time.monotonic()
        if self._connection is not None and now_s - self._used_s > _IDLE_S:
            self._drop_if_lost(self._connection)
        if self._connection is None:
            self._connection = self._database.connect(autocommit=False)
        self._used_s = now_s
        return self._connection

    def _drop_if_lost(self, connection: Connection) -> None:
        """Ask for a sign of life: the server may have been restarted while nothing was written."""
        try:
            connection.execute("SELECT 1")
        except psycopg.Error:
            connection.close()
            self._connection = None

    def _faults(self) -> _Faults:
        return _Faults(self._database)

    def _failed(self, fault: StoreError) -> None:
        """Note that nothing can be written now."""
        self._retry_at_s = time.monotonic() + _RETRY_S
        if self._problem is None:
            self._problem = fault
            _LOG.error("%s Decisions, outcomes and feedback are spooled until then.", fault)
        if self._connection is not None and is_lost(self._connection):
            self._link.down(fault)
        self._roll_back()

    def _roll_back(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.rollback()
        except psycopg.Error:
            self._connection.close()
            self._connection = None

    def _give_up(self, error: BaseException) -> None:
        """Close the intake; everything that is not written is lost, and whoever waits is told."""
        refusal = StoreError(f"Store {self._database.place}: its writer has stopped. Open the store again.")
        refusal.__cause__ = error
        for item in [*self._in_hand, *self._intake.abandon(error)]:
            if not isinstance(item, Awaited):
                self._lost += 1
            elif not item.future.done():
                item.future.set_exception(refusal)
        self._in_hand = ()
        self.count_dropped(self._lost)


class _Faults:
    """Turns psycopg's errors that concern the database into `StoreError`; those of single items pass."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, psycopg.Error) and not isinstance(error, ITEM_FAULTS):
            raise self._database.fault(error) from error


def _nothing(connection: Connection) -> None:
    del connection


def _unfit(error: Exception) -> StoreError:
    refusal = StoreError(f"The store cannot keep a value ({type(error).__name__}). Correct it and send it again.")
    refusal.__cause__ = error
    return refusal


def _runs(batch: Iterable[Item]) -> Iterator[list[Fact] | Command]:
    """Yield the facts between commands, and the commands, in order."""
    facts: list[Fact] = []
    for item in batch:
        if isinstance(item, Command):
            if facts:
                yield facts
            yield item
            facts = []
        else:
            facts.append(item)
    if facts:
        yield facts
