"""The bounded queue between the threads that append and the one that writes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from mixllm.errors import StoreClosedError, StoreError
from mixllm.types import DecisionRecord, Feedback, FeedbackReceipt, OutcomeEvent

__all__ = ["Awaited", "Command", "Fact", "Intake", "Item", "QueuedFeedback"]


@dataclass(slots=True, eq=False, kw_only=True)
class QueuedFeedback:
    """A feedback with its body and the future that its sender holds."""

    feedback: Feedback
    body: str
    future: Future[FeedbackReceipt]


@dataclass(slots=True, eq=False, kw_only=True)
class Command:
    """Something to run in a transaction at once, on the writer's connection, whose sender waits for it."""

    run: Callable[[Any], None]
    future: Future[None]


Fact = DecisionRecord | OutcomeEvent | QueuedFeedback
"""What belongs to a decision."""

Item = Fact | Command
"""What the queue holds."""

Awaited = QueuedFeedback | Command
"""What has a future that somebody waits for."""


class Intake:
    """A first-in-first-out queue that never makes a sender of facts wait.

    Parameters
    ----------
    max_batch
        Most items of one batch; reaching it ends the writer's wait.
    max_queue
        Most facts that are held, those being written included.
    max_queue_bytes
        Most bytes of encodings and prompts that are held.
    max_delay_s
        How long the writer waits for a batch to fill.
    """

    def __init__(self, *, max_batch: int, max_queue: int, max_queue_bytes: int, max_delay_s: float) -> None:
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._max_queue_bytes = max_queue_bytes
        self._max_delay_s = max_delay_s
        self._changed = threading.Condition()
        self._queue: deque[Item] = deque()
        self._held_by_decision: dict[str, list[Fact]] = {}
        self._held = 0
        self._held_bytes = 0
        self._commands = 0
        self._closing = False
        self._failure: BaseException | None = None

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    def put(self, fact: Fact) -> bool:
        """Queue a fact; False where the queue is full. Raises `StoreClosedError`."""
        size = _size(fact)
        with self._changed:
            self.refuse_closed()
            if self._held >= self._max_queue or self._held_bytes + size > self._max_queue_bytes:
                return False
            self._held += 1
            self._held_bytes += size
            self._held_by_decision.setdefault(_decision_id(fact), []).append(fact)
            self._queue.append(fact)
            # The writer sleeps on an empty queue, or until a batch is full: in between it needs no waking.
            if len(self._queue) in (1, self._max_batch):
                self._changed.notify()
            return True

    def put_command(self, command: Command) -> None:
        """Queue a command; it is not counted, since its sender waits. Raises `StoreClosedError`."""
        with self._changed:
            self.refuse_closed()
            self._queue.append(command)
            self._commands += 1
            self._changed.notify()

    def held(self, decision_id: str) -> list[Fact]:
        """Return the facts of a decision that are queued or being written, in order."""
        with self._changed:
            return list(self._held_by_decision.get(decision_id, ()))

    def take(self, *, patience_s: float | None = None) -> list[Item] | None:
        """Return the next batch, once it is full, old enough or urgent; None when closed and empty.

        Where nothing comes for `patience_s`, the batch is empty; None waits for ever.
        """
        with self._changed:
            while not self._queue:
                if self._closing:
                    return None
                if not self._changed.wait(patience_s):
                    return []
            deadline_s = time.monotonic() + self._max_delay_s
            while len(self._queue) < self._max_batch and not self._commands and not self._closing:
                remaining_s = deadline_s - time.monotonic()
                if remaining_s <= 0:
                    break
                self._changed.wait(remaining_s)
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]
            self._commands -= sum(isinstance(item, Command) for item in batch)
            return batch

    def release(self, items: Iterable[Item]) -> None:
        """Forget items that are written, or that never will be."""
        with self._changed:
            for item in items:
                if isinstance(item, Command):
                    continue
                self._held -= 1
                self._held_bytes -= _size(item)
                decision_id = _decision_id(item)
                facts = self._held_by_decision[decision_id]
                facts.remove(item)
                if not facts:
                    del self._held_by_decision[decision_id]

    def put_back(self, batch: Iterable[Item]) -> list[Awaited]:
        """Return the decisions and outcomes of the last batch to the head of the queue.

        What somebody waits for, in the batch and in the whole queue, is taken out and returned: behind a batch that
        fails again and again it would otherwise wait without end. It is still held.
        """
        with self._changed:
            items = [*batch, *self._queue]
            self._queue = deque(item for item in items if not isinstance(item, Awaited))
            self._commands = 0
            return [item for item in items if isinstance(item, Awaited)]

    def pause(self, duration_s: float) -> None:
        """Wait for `duration_s`, or until closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing, timeout=duration_s)

    def close(self) -> None:
        """Take nothing more; what is queued can still be taken out."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def abandon(self, failure: BaseException | None = None) -> list[Item]:
        """Close, and return everything that was still queued; `failure` is what later senders are told."""
        with self._changed:
            self._closing = True
            self._failure = failure
            rest = list(self._queue)
            self._queue.clear()
            self._commands = 0
            self._changed.notify_all()
            return rest

    def refuse_closed(self) -> None:
        """Raise `StoreClosedError` when closed, or `StoreError` where the writer has stopped by itself."""
        if self._failure is not None:
            raise StoreError("The store's writer has stopped. Open the store again.") from self._failure
        if self._closing:
            raise StoreClosedError


def _decision_id(fact: Fact) -> str:
    if isinstance(fact, DecisionRecord):
        return fact.decision.decision_id
    return fact.decision_id if isinstance(fact, OutcomeEvent) else fact.feedback.decision_id


def _size(fact: Fact) -> int:
    """Return the bytes that grow with the query, about."""
    if isinstance(fact, DecisionRecord):
        return len(fact.encoding) + len(fact.prompt or "")
    return len(fact.body) if isinstance(fact, QueuedFeedback) else len(fact.outcome.error or "")
