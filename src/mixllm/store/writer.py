"""The one thread that writes: group commits, and survival of a disk that is full or a file that is locked."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from mixllm.errors import StoreError
from mixllm.store.database import SQLITE_FAULTS, store_fault
from mixllm.store.intake import Awaited, Command, Intake, Item, QueuedFeedback
from mixllm.store.tail import Tail
from mixllm.store.transaction import Written, write_batch
from mixllm.types import DecisionRecord, Feedback, FeedbackReceipt, OutcomeEvent

__all__ = ["Writer"]

_LOG = logging.getLogger("mixllm.store")

_RETRY_S = 0.1


class Writer:
    """Takes batches from the intake and commits them, until the intake is closed and empty.

    Where a transaction fails, the senders of all feedback and commands in it and in the queue are told, and decisions
    and outcomes are written again later, in order, before anything newer.

    Parameters
    ----------
    connection
        A connection for writing; it belongs to the writer from now on.
    path
        Its file, for messages.
    intake
        Where the batches come from.
    tail
        Told of every durable event.
    """

    def __init__(self, *, connection: sqlite3.Connection, path: Path, intake: Intake, tail: Tail) -> None:
        self._connection = connection
        self._path = path
        self._intake = intake
        self._tail = tail
        self._counting = threading.Lock()
        self._dropped = 0
        self._lost = 0
        self._problem: str | None = None
        self._overflowing = False
        self._in_hand: Sequence[Item] = ()  # Taken from the intake, their senders not told yet.
        self._thread = threading.Thread(target=self._run, name="mixllm-store-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Decisions and outcomes that were appended and are not kept."""
        return self._dropped

    @property
    def problem(self) -> str | None:
        """Why the file cannot be written; None while it can."""
        return self._problem

    def append(self, fact: DecisionRecord | OutcomeEvent) -> None:
        """Queue a decision or an outcome; it is dropped where the queue is full."""
        if self._intake.put(fact):
            return
        self.count_dropped(1)
        if not self._overflowing:
            self._overflowing = True
            _LOG.warning(
                "Store %r falls behind: its queue is full, decisions and outcomes are dropped", str(self._path)
            )

    def append_feedback(self, feedback: Feedback, body: str) -> Future[FeedbackReceipt]:
        """Queue a feedback; the future fails at once where the queue is full."""
        future: Future[FeedbackReceipt] = Future()
        # From here on nobody can cancel it: a waiter that gives up must not stop the writer.
        future.set_running_or_notify_cancel()
        if not self._intake.put(QueuedFeedback(feedback=feedback, body=body, future=future)):
            future.set_exception(
                StoreError(
                    f"Store {str(self._path)!r} falls behind and its queue is full; the feedback is not stored. "
                    "Send it again in a moment, with the same feedback_id."
                )
            )
        return future

    def call(self, run: Callable[[sqlite3.Connection], None]) -> None:
        """Run `run` in the next transaction, after everything that is queued; return when it is durable."""
        if threading.current_thread() is self._thread:
            raise StoreError(
                "A callback of a feedback's future runs on the store's writing thread and cannot wait for it. "
                "Call the store from another thread."
            )
        command = Command(run=run, future=Future())
        command.future.set_running_or_notify_cancel()
        self._intake.put_command(command)
        command.future.result()

    def count_dropped(self, number: int) -> None:
        """Count decisions and outcomes that are not kept."""
        with self._counting:
            self._dropped += number

    def close(self) -> None:
        """Write what is queued and stop.

        Raises
        ------
        StoreError
            Where something queued could not be written.
        """
        self._intake.close()
        if threading.current_thread() is self._thread:
            return  # Closed from a future's callback: the thread stops by itself, once the queue is empty.
        self._thread.join()
        if self._lost:
            raise StoreError(
                f"Store {str(self._path)!r} was closed while it could not be written: {self._lost} decisions and "
                "outcomes are lost. See the log for the cause."
            )

    def _run(self) -> None:
        try:
            while (batch := self._intake.take()) is not None:
                self._commit(batch)
        except BaseException as error:
            self._give_up(error, failure=error)
            raise
        finally:
            self._connection.close()

    def _commit(self, batch: Sequence[Item]) -> None:
        self._in_hand = batch
        try:
            written = write_batch(self._connection, batch)
        except SQLITE_FAULTS as error:
            self._survive(batch, error)
            return
        self._overflowing = False
        if self._problem is not None:
            self._problem = None
            _LOG.warning("Store %r can be written again", str(self._path))
        self._in_hand = [item for item in batch if isinstance(item, Awaited)]
        self._intake.release(batch)
        self.count_dropped(written.dropped)
        self._tail.advance(written.last_seq)
        _answer(written)
        self._in_hand = ()

    def _survive(self, batch: Sequence[Item], error: sqlite3.Error | UnicodeDecodeError) -> None:
        if self._problem is None:
            self._problem = str(store_fault(self._path, error))
            _LOG.error("%s", self._problem)
        if self._intake.closing:
            self._give_up(error, failure=None)
            return
        failed = self._intake.put_back(batch)
        self._in_hand = failed
        self._intake.release(failed)
        for item in failed:
            item.future.set_exception(self._refusal(error))
        self._in_hand = ()
        self._intake.pause(_RETRY_S)

    def _give_up(self, error: BaseException, *, failure: BaseException | None) -> None:
        """Close the intake; everything that is not written is lost, and whoever waits is told."""
        for item in [*self._in_hand, *self._intake.abandon(failure)]:
            if isinstance(item, Awaited):
                if not item.future.done():
                    item.future.set_exception(self._refusal(error))
            else:
                self._lost += 1
        self._in_hand = ()
        self.count_dropped(self._lost)

    def _refusal(self, error: BaseException) -> StoreError:
        if isinstance(error, SQLITE_FAULTS):
            refusal = store_fault(self._path, error)
        else:
            refusal = StoreError(f"Store {str(self._path)!r}: its writer has stopped. Open the store again.")
        refusal.__cause__ = error
        return refusal


def _answer(written: Written) -> None:
    for item, receipt in written.receipts:
        if isinstance(receipt, FeedbackReceipt):
            item.future.set_result(receipt)
        else:
            item.future.set_exception(receipt)
    for command, refusal in written.commands:
        if refusal is None:
            command.future.set_result(None)
        else:
            command.future.set_exception(refusal)
