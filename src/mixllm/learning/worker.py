"""The thread that learns: it tails the store, publishes snapshots and keeps checkpoints."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from mixllm.errors import NewerStateError, OtherFeaturesError, StateError, StoreClosedError, StoreError
from mixllm.interfaces import Clock, Store
from mixllm.learning.checkpoint import Checkpoint
from mixllm.learning.kept_starts import KeptStarts
from mixllm.learning.learner import Learner
from mixllm.learning.rollback import RolledBack, find_earlier, keep_earlier
from mixllm.learning.snapshot import Snapshot
from mixllm.learning.status import LearnerStatus
from mixllm.learning.vitals import Vitals
from mixllm.types import KeptStart, LearnedState, LearningEvent, PlacedChange, PoolChange, StateChange
from mixllm.units import non_negative, positive

__all__ = ["LearningWorker"]

_T = TypeVar("_T")

_LOG = logging.getLogger(__name__)
_BATCH_EVENTS = 512
_IDLE_WAIT_S = 0.5
_SNAPSHOT_SHARE = 0.05
"""Snapshots may take this share of the time, as long as they are not further apart for it than `_LOADED_WAIT_S`."""

_LOADED_WAIT_S = 0.25


class LearningWorker:
    """Learns from the store's events, in the background or when asked.

    Live, after a restart and in a test it is the same path: read events after the learner's position, learn, publish.
    An event therefore teaches exactly once, whatever happens in between. Changes of the pool are made at their place
    among the events, and so are those of what is known: a rollback or a merge of one is followed by all, each of which
    takes its checkpoint over and goes on from its position. All who follow one store therefore know the same.

    Parameters
    ----------
    store
        Where events come from and checkpoints go.
    learner
        What learns.
    publish
        Called with each new snapshot.
    clock
        Times checkpoints.
    min_publish_interval_s
        Snapshots are published at most this often.
    checkpoint_interval_s
        Checkpoints are kept at most this often, and at the end.
    stalled_after_s
        Learning counts as stalled where an event waits for longer and nothing is learned meanwhile.

    Attributes
    ----------
    observe
        Called with each batch of events when it has been learned, e.g. to charge what they cost; None: nobody looks.
    make_change
        Called with each change of the pool that the store tells of, whoever made it, and whether it came after the
        start; None: the pool does not change.
    starts
        Has what a start without the store needs kept.
    first_change
        Number of the last change of the pool that was there before the start: it is no news.
    away_since_s
        Since when, in Unix time, the store was away at the start: changes from before that are no news either.
    """

    def __init__(
        self,
        *,
        store: Store,
        learner: Learner,
        publish: Callable[[Snapshot], None],
        clock: Clock,
        min_publish_interval_s: float = 0.02,
        checkpoint_interval_s: float = 30.0,
        stalled_after_s: float = 60.0,
    ) -> None:
        self.store = store
        self.learner = learner
        self.publish = publish
        self.observe: Callable[[Sequence[LearningEvent]], None] | None = None
        self.make_change: Callable[[PoolChange, bool], None] | None = None
        self.clock = clock
        self.min_publish_interval_s = non_negative("min_publish_interval_s", min_publish_interval_s)
        self.checkpoint_interval_s = positive("checkpoint_interval_s", checkpoint_interval_s)
        self.stalled_after_s = positive("stalled_after_s", stalled_after_s)
        self.starts = KeptStarts(store=store, clock=clock, interval_s=self.checkpoint_interval_s)
        self._turn = threading.Lock()
        self._starting = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._checkpointed_position = -1
        self._checkpointed_at_s = self._learned_at_s = clock.monotonic_s()
        self._quarantined: dict[int, str] = {}
        self._change = self._heard_change = 0  # Numbers: of the last change that was made, and that was read.
        self.first_change = 0
        self.away_since_s = -math.inf
        self._adopted = 0  # The last change of what is known that is part of it.
        self._met: PlacedChange | None = None  # The newest change of what is known that comes before a checkpoint.
        self._kept_version = self._others_version = 0
        self._snapshot_took_s = 0.0

    @property
    def running(self) -> bool:
        """Whether the background thread is alive."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def change(self) -> int:
        """Number of the last change of the pool that was made."""
        return self._change

    def status(self) -> LearnerStatus:
        """Return how far learning is; asks nobody."""
        counts = self.learner.counts
        return LearnerStatus(
            position=self.learner.position,
            idle_s=max(0.0, self.clock.monotonic_s() - self._learned_at_s),
            newest_s=counts.newest_s,
            outcomes=counts.outcomes,
            feedback=counts.feedback,
            ignored=counts.ignored,
            refused=counts.refused,
            untaught=counts.untaught,
            refused_share=counts.refused_share,
            quarantined=dict(self._quarantined),
            drift=tuple(self.learner.watch.statuses()),
        )

    def vitals(self) -> Vitals:
        """Return whether learning is really happening; asks the store, and does without where it does not answer."""
        status = self.status()
        newest, waiting = self._waiting(status.position)
        now_s = self.clock.time_s()
        waiting_s = max(0.0, now_s - waiting[0].created_at_s) if waiting else 0.0
        return Vitals(
            running=self.running,
            position=status.position,
            newest_event=newest,
            waiting_s=waiting_s,
            idle_s=status.idle_s,
            learned_age_s=None if status.newest_s is None else max(0.0, now_s - status.newest_s),
            # Where old events are learned again, as after a rollback, they are old and yet nothing stalls.
            stalled=min(waiting_s, status.idle_s) > self.stalled_after_s,
            outcomes=status.outcomes,
            feedback=status.feedback,
            ignored=status.ignored,
            refused=status.refused,
            untaught=status.untaught,
            refused_share=status.refused_share,
            quarantined=status.quarantined,
            store=self.store.health(),
        )

    def look(self) -> None:
        """Look now whether other processes have written into the store, and have the background learn it."""
        with suppress(StoreError):  # The thread meets the same fault, and says so.
            self.store.wait_for_events(self.learner.position, change=self._change, timeout_s=0.0)

    def _waiting(self, position: int) -> tuple[int, Sequence[LearningEvent]]:
        """Return the newest event of the store, and the next one to learn from, if there is one."""
        try:
            newest = self.store.last_seq()
            return newest, self.store.events_after(position, limit=1) if newest > position else ()
        except StoreClosedError:
            raise
        except StoreError:
            return position, ()

    def restore(self, *, quarantine: bool = True) -> KeptStart | None:
        """Load the newest usable checkpoint, then learn what came after it.

        Where the store is away and has kept something for that, begin with it: the events after it are learned when
        the store is back, each once, as they would have been without the outage.

        Parameters
        ----------
        quarantine
            Whether unusable ones are marked in the store, so that they are kept and not tried again.

        Returns
        -------
        What the store had kept for a start without it; None where it was read itself.

        Raises
        ------
        StateError
            Where what was kept does not fit.
        """
        kept = self.starts.found()
        if kept is not None:
            self._begin_with(kept)
            return kept
        self.first_change = max((placed.number for placed in self._changes_after(0)), default=0)
        self._others_version = max((info.version for info in self.store.states()), default=0)
        self.learner.advance_version(self._others_version)
        for version in reversed(self.store.state_versions()):
            state = self.store.load_state(version)
            if state is None:
                continue
            try:
                checkpoint = Checkpoint.from_bytes(state.payload)
                self._make_changes_until(checkpoint.position)
                self.learner.restore(checkpoint)
            except StateError as error:
                self._set_aside(version, error, quarantine=quarantine)
                continue
            self._checkpointed_position = state.position
            self._adopted = checkpoint.adopted
            break
        self._make_changes_until(self.learner.position)
        if self._met is not None:
            # Whoever kept the checkpoint may not have followed it yet.
            self._adopt(self._met)
        self.catch_up()
        return None

    def keep_start(self) -> None:
        """Keep what a start without the store needs, where the store takes that."""
        with self._turn:
            self.starts.keep(self._known, change=self._change)

    def catch_up(self) -> int:
        """Learn every durable event now, and make every change of the pool; publish if there was any.

        Returns
        -------
        How many events there were.
        """
        position, change = self.learner.position, self._change
        learned = 0
        with self._turn:
            try:
                while True:
                    # The events first: a change that comes before one of them is then seen too.
                    events = self.store.events_after(self.learner.position, limit=_BATCH_EVENTS)
                    changes = self.store.placed_changes(self._change)
                    if not events and not changes:
                        break
                    learned += self._follow(events, changes)
            finally:
                # Also where the store failed in between: what was learned until then would otherwise wait for more.
                if (position, change) != (self.learner.position, self._change):
                    started_s = self._learned_at_s = self.clock.monotonic_s()
                    self.publish(self.learner.snapshot())
                    self._snapshot_took_s = self.clock.monotonic_s() - started_s
        return learned

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let nothing be learned and no change of the pool be made while the context is open."""
        with self._turn:
            yield

    def merge(self, checkpoint: Checkpoint) -> None:
        """Add what another learner has learned, publish it, and keep a checkpoint, which everyone takes over.

        No event tells of it.

        Raises
        ------
        StateError
            Where it does not fit (see `Learner.merge`).
        StoreError
            Where no checkpoint can be kept. Either way everything stays as it was.
        """
        with self._turn:
            before = self.learner.checkpoint()
            self.learner.merge(checkpoint)
            self._swap_in(before, partial(self.store.save_state, announce=True))
        self.catch_up()

    def roll_back(self, to: int | None = None, *, relearn: bool = False) -> RolledBack:
        """Go back to an earlier checkpoint at once; what is known now is kept, in quarantine.

        Everyone who follows the store goes back to it too.
        The pool and its prices stay as they are: only what was learned goes back.

        Parameters
        ----------
        to
            Version to go back to; None takes the newest that knows something else than what is known now.
        relearn
            Whether the events since then are learned again; else they count as learned, though nothing of them is
            known.

        Raises
        ------
        StateError
            Where there is no such checkpoint, or it is in quarantine, damaged or does not fit.
        StoreError
            Where the store fails. Either way everything stays as it was.
        """
        self.store.flush()  # Also what was appended just now is older than the rollback.
        with self._turn:
            if self.learner.position not in (0, self._checkpointed_position):
                self._keep(self.store.save_state)
            source, checkpoint = find_earlier(self.store, to)
            before = self.learner.checkpoint()
            position = checkpoint.position if relearn else max(self.store.last_seq(), self.learner.position)
            self.learner.restore(replace(checkpoint, position=position))
            done = self._swap_in(before, partial(keep_earlier, self.store, source))
        self.catch_up()
        return done

    def checkpoint(self, *, always: bool = False) -> None:
        """Keep a checkpoint, unless nothing was learned since the last one; `always` keeps one all the same."""
        with self._turn:
            if always or self.learner.position not in (0, self._checkpointed_position):
                self._keep(self.store.save_state)

    def start(self) -> None:
        """Start the background thread, if it is not running."""
        if self.running:
            return
        with self._starting:
            if not self.running:
                self._stop.clear()
                self._thread = threading.Thread(target=self._run, name="mixllm-learning", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Stop the thread, learn what is left and keep a last checkpoint."""
        with self._starting:
            self._stop.set()
            if self._thread is not None:
                self._thread.join()
                self._thread = None
        self.catch_up()
        self.checkpoint()

    def _follow(self, events: Sequence[LearningEvent], changes: Sequence[PlacedChange]) -> int:
        """Learn `events` and make those of `changes` whose turn comes with them; return how many events were new."""
        learned, rest = 0, list(events)
        end = rest[-1].seq if rest else self.learner.position
        for placed in changes:
            # One that was known before these events were read, and follows more than they are: there are no more.
            overdue = placed.number <= self._heard_change and len(events) < _BATCH_EVENTS
            if placed.after_seq > end and not overdue:
                break
            before = [event for event in rest if event.seq <= placed.after_seq]
            learned += self._learn(before)
            rest = rest[len(before) :]
            position = self.learner.position
            self._make(placed)
            if self.learner.position != position:
                rest = []  # They follow another position than the one that is known now.
                break
        learned += self._learn(rest)
        if changes:
            self._heard_change = max(self._heard_change, changes[-1].number)
        return learned

    def _begin_with(self, kept: KeptStart) -> None:
        """Know what `kept` tells, and nothing else until the store is back."""
        self.away_since_s = self.clock.time_s()
        self.first_change = kept.change
        for placed in kept.changes:
            self._make(placed)
        self._change = kept.change
        try:
            checkpoint = Checkpoint.from_bytes(kept.state.payload)
            self.learner.restore(checkpoint)
            self._adopted = checkpoint.adopted
        except StateError as error:
            raise StateError(
                f"The store is away, and what was kept of it on this machine cannot be used: {error} Or start when the "
                "store is back."
            ) from error
        self.publish(self.learner.snapshot())

    def _learn(self, events: Sequence[LearningEvent]) -> int:
        if not events:
            return 0
        learned = self.learner.learn(events)
        if self.observe is not None:
            self.observe(events)
        return learned

    def _make(self, placed: PlacedChange) -> None:
        if isinstance(placed.change, StateChange):
            self._adopt(placed)
        elif self.make_change is not None:
            live = placed.number > self.first_change and placed.change.created_at_s > self.away_since_s
            self.make_change(placed.change, live)
        self.starts.note(placed)
        self._change = placed.number

    def _adopt(self, placed: PlacedChange) -> None:
        """Take over the checkpoint of a change of what is known, unless it is part of what is known already.

        Whoever announced it does so too: what it learned since is learned again from there.
        """
        assert isinstance(placed.change, StateChange)
        if placed.number <= self._adopted:
            return
        version = placed.change.version
        state = self.store.load_state(version)
        if state is None:
            _LOG.error("checkpoint %d, which all routers on this store take over, is not kept any more", version)
            return
        try:
            self.learner.restore(Checkpoint.from_bytes(state.payload))
        except StateError as error:
            _LOG.error("checkpoint %d, which all routers on this store take over, cannot be: %s", version, error)
            return
        self._adopted = placed.number
        self._checkpointed_position = state.position
        _LOG.warning("checkpoint %d is taken over, as it was rolled back to or merged", version)

    def _make_changes_until(self, position: int) -> None:
        """Make the changes of the pool that come before the event after `position`, of each LLM the newest.

        No more is known of them. The newest of what is known is met, and not made.
        """
        newest: dict[str, PlacedChange] = {}
        last = self._change
        for placed in self._changes_after(self._change):
            if placed.after_seq > position:
                break
            last = placed.number
            if isinstance(placed.change, StateChange):
                self._met = placed
                continue
            newest.pop(placed.change.spec.name, None)
            newest[placed.change.spec.name] = placed
        for placed in newest.values():
            self._make(placed)
        self._change = last

    def _known(self) -> Checkpoint:
        return replace(self.learner.checkpoint(), adopted=self._adopted)

    def _changes_after(self, number: int) -> Iterator[PlacedChange]:
        while page := self.store.placed_changes(number):
            yield from page
            number = page[-1].number

    def _keep(self, save: Callable[[LearnedState], _T]) -> _T:
        """Have a checkpoint of what is known now saved."""
        newest = max((info.version for info in self.store.states()), default=0)
        if newest != self._kept_version:
            # Another process has kept one: its version must not name two states.
            self.learner.advance_version(newest + 1)
        checkpoint = self._known()
        saved = save(
            LearnedState(
                version=checkpoint.version,
                position=checkpoint.position,
                created_at_s=self.clock.time_s(),
                payload=checkpoint.to_bytes(),
            )
        )
        self._kept_version = self._others_version = checkpoint.version
        self._checkpointed_position = checkpoint.position
        self._checkpointed_at_s = self.clock.monotonic_s()
        return saved

    def _kept_by_others(self) -> bool:
        """Return whether another process has kept a checkpoint since this was last asked; one of them is enough."""
        states = [info for info in self.store.states() if info.quarantined is None]
        if not states or states[-1].version in (self._others_version, self._kept_version):
            return False
        self._others_version = states[-1].version
        self._checkpointed_at_s = self.clock.monotonic_s()
        return states[-1].position > self._checkpointed_position

    def _swap_in(self, before: Checkpoint, save: Callable[[LearnedState], _T]) -> _T:
        """Keep and publish what the learner has just been given; where it cannot be kept, `before` is known again."""
        snapshot = self.learner.snapshot()
        try:
            saved = self._keep(save)
        except StoreError:
            self.learner.restore(before)
            raise
        self.publish(snapshot)
        return saved

    def _checkpoint_due(self) -> bool:
        return self.clock.monotonic_s() - self._checkpointed_at_s >= self.checkpoint_interval_s

    def _pause_s(self, took_s: float) -> float:
        """Return how long to leave what comes next to the next snapshot, after learning and one that took so long."""
        seldom_s = min(self._snapshot_took_s / _SNAPSHOT_SHARE, _LOADED_WAIT_S)
        # With a thousand LLMs a snapshot takes a while: at least half the time is left to requests.
        return min(max(self.min_publish_interval_s, seldom_s, took_s), _IDLE_WAIT_S)

    def _set_aside(self, version: int, error: StateError, *, quarantine: bool) -> None:
        """Leave out an unusable checkpoint, and say what can be done about it."""
        if isinstance(error, NewerStateError | OtherFeaturesError):
            advice = f"It is not damaged: after that, mixllm state release {version} lets it be used."
        else:
            advice = "Nothing is lost: the last good one is used, and the events since are learned again."
        reason = f"{error} {advice}"
        if not quarantine:
            _LOG.warning("checkpoint %d is unusable, trying an older one: %s", version, reason)
            return
        _LOG.error("checkpoint %d is unusable and goes into quarantine, trying an older one: %s", version, reason)
        self._quarantined[version] = reason
        try:
            self.store.quarantine_state(version, reason)
        except StoreError as failure:
            _LOG.error("checkpoint %d cannot be marked: %s", version, failure)

    def _run(self) -> None:
        waits_for_store = False
        while not self._stop.is_set():
            try:
                if self.store.wait_for_events(self.learner.position, change=self._change, timeout_s=_IDLE_WAIT_S):
                    started_s = self.clock.monotonic_s()
                    self.catch_up()
                    self._stop.wait(self._pause_s(self.clock.monotonic_s() - started_s))
                if self.starts.due(change=self._change, position=self.learner.position):
                    self.keep_start()
                if self._checkpoint_due() and not self._kept_by_others():
                    self.checkpoint()
                waits_for_store = False
            except StoreClosedError:
                return
            except StoreError as error:
                # A locked or full disk passes; learning goes on where it stopped when it does.
                if not waits_for_store:
                    _LOG.error("learning is waiting for the store: %s", error)
                waits_for_store = True
                self._stop.wait(_IDLE_WAIT_S)
