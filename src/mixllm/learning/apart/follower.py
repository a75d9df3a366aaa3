"""The side that decides: it swaps in what another process learns, and has that one do what a worker would do here."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from mixllm.errors import StateError, StoreClosedError, StoreError
from mixllm.learning.apart.messages import (
    Ask,
    CatchUp,
    Frozen,
    Hello,
    Keep,
    Line,
    Look,
    Merge,
    Message,
    Reply,
    RollBack,
    Told,
)
from mixllm.learning.checkpoint import Checkpoint
from mixllm.learning.rollback import RolledBack
from mixllm.learning.snapshot import Snapshot
from mixllm.learning.snapshot_bytes import snapshot_from_bytes
from mixllm.learning.status import LearnerStatus
from mixllm.learning.vitals import Vitals
from mixllm.learning.worker import LearningWorker
from mixllm.types import PlacedChange
from mixllm.units import positive

__all__ = ["FollowingWorker"]

_LOG = logging.getLogger(__name__)
_AGAIN_S = 0.1
_IDLE_WAIT_S = 0.5
_LOOK_EVERY_S = 0.05
_PAGE_EVENTS = 512
_BORNE_S = 60.0
"""So long the process that learns may be away, e.g. because it starts again, before learning counts as not running."""


class FollowingWorker(LearningWorker):
    """Takes the place of a `LearningWorker` in a process that decides, where a `LearningServer` learns in another one.

    Snapshots come from there. What follows learning here does so as before: changes of the pool are made before the
    first snapshot that knows them, and `observe` sees every event once. Where the other process is away, decisions are
    made from the last snapshot, and what needs it waits.

    Parameters
    ----------
    worker
        What has learned here until now, and does not any more: from its position and its changes on this one follows.
    path
        The socket of the `LearningServer`.
    patience_s
        How long what needs the other process waits for it, > 0.
    """

    def __init__(self, *, worker: LearningWorker, path: Path, patience_s: float = 60.0) -> None:
        super().__init__(
            store=worker.store,
            learner=worker.learner,
            publish=worker.publish,
            clock=worker.clock,
            min_publish_interval_s=worker.min_publish_interval_s,
            checkpoint_interval_s=worker.checkpoint_interval_s,
            stalled_after_s=worker.stalled_after_s,
        )
        self.observe, self.make_change = worker.observe, worker.make_change
        self.path = path
        self.patience_s = positive("patience_s", patience_s)
        self.first_change, self.away_since_s = worker.first_change, worker.away_since_s
        self._change = worker.change
        self._due_change = 0
        self._status = worker.status()
        self._status_at_s = self._heard_at_s = self.clock.monotonic_s()
        self._seen = self.learner.position  # The last event that `observe` has seen, or that is known to be there.
        self._version = worker.learner.version
        self._observing = threading.Lock()
        self._link = threading.Condition()  # Guards what follows.
        self._line: Line | None = None
        self._replies: dict[int, Reply | None] = {}  # None: it is waited for.
        self._numbers = itertools.count(1)
        self._looking = self._look_again = False  # Whether it was told to look, and has something new to look for.
        self._listener: threading.Thread | None = None

    def status(self) -> LearnerStatus:
        """Return how far learning was when the other process last told."""
        status, quiet_s = self._status, max(0.0, self.clock.monotonic_s() - self._status_at_s)
        return msgspec.structs.replace(status, idle_s=status.idle_s + quiet_s)

    def vitals(self) -> Vitals:
        """Return whether learning is really happening, in the other process."""
        vitals = super().vitals()
        away_s = self.clock.monotonic_s() - self._heard_at_s
        return msgspec.structs.replace(vitals, running=vitals.running and away_s < _BORNE_S)

    def start(self) -> None:
        """Begin to follow, where that has not begun."""
        if self.running:
            return
        with self._starting:
            if not self.running:
                self._stop.clear()
                self._heard_at_s = self.clock.monotonic_s()
                self._listener = threading.Thread(target=self._listen, name="mixllm-learning-heard", daemon=True)
                self._thread = threading.Thread(target=self._run, name="mixllm-learning-told", daemon=True)
                self._listener.start()
                self._thread.start()

    def stop(self) -> None:
        """Follow no longer. The other process learns what is left, and keeps it."""
        with self._starting:
            self._stop.set()
            self._hang_up()
            for thread in (self._thread, self._listener):
                if thread is not None:
                    thread.join()
            self._thread = self._listener = None

    def catch_up(self) -> int:
        """Have every durable event learned, and every change of the pool made, before this returns.

        Returns
        -------
        How many events were learned for it.

        Raises
        ------
        StoreError
            Where the other process is away for too long, or its store fails.
        """
        learned = self._ask(CatchUp()).learned
        self._observe_all()
        return learned

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Swap in no snapshot while the context is open, nor after it one that knows only a part of its changes."""
        with self._turn:
            try:
                yield
            finally:
                with suppress(StoreError):
                    numbers = [placed.number for placed in self._changes_after(self._change)]
                    self._due_change = max(numbers, default=0)

    def checkpoint(self, *, always: bool = False) -> None:
        """Have the other process keep a checkpoint; raises as `catch_up` does."""
        self._ask(Keep(always=always))

    def keep_start(self) -> None:
        """Do nothing: the other process keeps what a start without the store needs."""

    def merge(self, checkpoint: Checkpoint) -> None:
        """Have the other process add what a third one has learned; raises as `LearningWorker.merge` does."""
        self._ask(Merge(payload=checkpoint.to_bytes()), once=True)

    def roll_back(self, to: int | None = None, *, relearn: bool = False) -> RolledBack:
        """Have the other process go back; raises as `LearningWorker.roll_back` does."""
        self.store.flush()  # Also what was appended just now is older than the rollback.
        done = self._ask(RollBack(to=to, relearn=relearn), once=True).rolled_back
        assert done is not None
        return done

    # ---- to the other process ---------------------------------------------------------------------------------------

    def _ask(self, what: CatchUp | Keep | RollBack | Merge, *, once: bool = False) -> Reply:
        """Return the reply to `what`; `once`: it must not be done twice, as where the other process ends meanwhile."""
        self.start()
        deadline_s = self.clock.monotonic_s() + self.patience_s
        with self._link:
            while True:
                self._link.wait_for(lambda: self._line is not None or self._stop.is_set(), self._left_s(deadline_s))
                line = self._line
                if line is None:
                    raise StoreError(
                        "The process that learns does not answer; it is started again. What is in the store is kept "
                        "and will be learned. See the log, and try again."
                    )
                reply = self._reply_of(line, what, deadline_s=deadline_s)
                if reply is not None:
                    return _done(reply)
                if once or self._line is line:
                    raise StoreError(
                        "The process that learns has not said whether it is done. See mixllm state list and the log, "
                        "and try again."
                    )

    def _reply_of(self, line: Line, what: CatchUp | Keep | RollBack | Merge, *, deadline_s: float) -> Reply | None:
        """Return the reply to `what`; None where the line breaks, or it is too late. The lock is held."""
        number = next(self._numbers)
        self._replies[number] = None
        with suppress(OSError):  # Whoever listens notices, and hangs up.
            line.say(Ask(number=number, what=what))
        self._link.wait_for(
            lambda: self._replies[number] is not None or self._line is not line, self._left_s(deadline_s)
        )
        return self._replies.pop(number)

    def _left_s(self, deadline_s: float) -> float:
        return max(0.0, deadline_s - self.clock.monotonic_s())

    def _hang_up(self) -> None:
        with self._link:
            line, self._line = self._line, None
            self._looking = False
            self._link.notify_all()
        if line is not None:
            line.close()

    # ---- from the other process -------------------------------------------------------------------------------------

    def _listen(self) -> None:
        told = ""
        while not self._stop.is_set():
            try:
                with closing(Line.to(self.path)) as line:
                    self._follow_line(line)
                told = ""
            except StoreClosedError:
                return
            except (OSError, StateError, StoreError) as error:
                # While it starts again, nobody listens there: that is in the log of whoever starts it.
                if not isinstance(error, OSError) and str(error) != told:
                    _LOG.error("what is learned cannot be followed for now: %s", error)
                    told = str(error)
            finally:
                self._hang_up()
            self._stop.wait(_AGAIN_S)

    def _follow_line(self, line: Line) -> None:
        with self._link:
            if self._stop.is_set():
                return
            self._line = line
            line.say(Hello(version=self._version))
            self._link.notify_all()
        last: Snapshot | None = None
        for message in line.heard():
            self._heard_at_s = self.clock.monotonic_s()
            self._looked()
            if isinstance(message, Frozen):
                last = snapshot_from_bytes(message.content, learner=self.learner, after=last)
                self._swap(last, change=message.change)
            else:
                self._note(message)

    def _note(self, message: Message) -> None:
        if isinstance(message, Told):
            self._status, self._status_at_s = message.status, self.clock.monotonic_s()
        elif isinstance(message, Reply):
            with self._link:
                if message.number in self._replies:
                    self._replies[message.number] = message
                    self._link.notify_all()

    def _swap(self, snapshot: Snapshot, *, change: int) -> None:
        with self._turn:
            if change < self._due_change:
                return
            if change > self._change:
                # Their prices first: a call of an LLM that came may end as soon as it can be chosen.
                for placed in self._changes_after(self._change):
                    if placed.number > change:
                        break
                    self._make(placed)
            self._version = snapshot.version
            self.publish(snapshot)

    def _adopt(self, placed: PlacedChange) -> None:
        """Do nothing: the snapshot that comes with `placed` knows what the other process has taken over."""

    # ---- from the store ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Tell the other process as soon as this one has written something: it would notice it, but later."""
        while not self._stop.is_set():
            try:
                if self.store.wait_for_events(self._seen, timeout_s=_IDLE_WAIT_S):
                    self._look()
                    self._observe_all()
                    self._stop.wait(max(self.min_publish_interval_s, _LOOK_EVERY_S))
            except StoreClosedError:
                return
            except StoreError:  # The other process meets the same fault, and says so.
                self._stop.wait(_IDLE_WAIT_S)

    def _look(self) -> None:
        """Have the other process look into the store: now, or when it has said something since it was last told to."""
        with self._link:
            line = self._line
            if line is None or self._looking:
                self._look_again = True
                return
            self._looking = True
        with suppress(OSError):  # Whoever listens notices.
            line.say(Look())

    def _looked(self) -> None:
        with self._link:
            again, self._looking, self._look_again = self._look_again, False, False
        if again:
            self._look()

    def _observe_all(self) -> None:
        with self._observing:
            if self.observe is None:
                self._seen = max(self._seen, self.store.last_seq())
                return
            while events := self.store.events_after(self._seen, limit=_PAGE_EVENTS):
                self.observe(events)
                self._seen = events[-1].seq


def _done(reply: Reply) -> Reply:
    if reply.refused is not None:
        raise StateError(reply.refused)
    if reply.failed is not None:
        raise StoreError(reply.failed)
    return reply
