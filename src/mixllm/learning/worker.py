"""The thread that learns: it tails the store, publishes snapshots and keeps checkpoints."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from mixllm.errors import NewerStateError, OtherFeaturesError, StateError, StoreClosedError, StoreError
from mixllm.interfaces import Clock, Store
from mixllm.learning.checkpoint import Checkpoint
from mixllm.learning.learner import Learner
from mixllm.learning.rollback import RolledBack, find_earlier, keep_earlier
from mixllm.learning.snapshot import Snapshot
from mixllm.learning.vitals import Vitals
from mixllm.types import LearnedState, LearningEvent
from mixllm.units import non_negative, positive

__all__ = ["LearningWorker"]

_T = TypeVar("_T")

_LOG = logging.getLogger(__name__)
_BATCH_EVENTS = 512
_IDLE_WAIT_S = 0.5


class LearningWorker:
    """Learns from the store's events, in the background or when asked.

    Live, after a restart and in a test it is the same path: read events after the learner's position, learn, publish.
    An event therefore teaches exactly once, whatever happens in between.

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
        self.clock = clock
        self.min_publish_interval_s = non_negative("min_publish_interval_s", min_publish_interval_s)
        self.checkpoint_interval_s = positive("checkpoint_interval_s", checkpoint_interval_s)
        self.stalled_after_s = positive("stalled_after_s", stalled_after_s)
        self._turn = threading.Lock()
        self._starting = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._checkpointed_position = -1
        self._checkpointed_at_s = self._learned_at_s = clock.monotonic_s()
        self._quarantined: dict[int, str] = {}

    @property
    def running(self) -> bool:
        """Whether the background thread is alive."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def vitals(self) -> Vitals:
        """Return whether learning is really happening; asks the store."""
        counts, position, newest = self.learner.counts, self.learner.position, self.store.last_seq()
        waiting = self.store.events_after(position, limit=1) if newest > position else ()
        now_s = self.clock.time_s()
        waiting_s = max(0.0, now_s - waiting[0].created_at_s) if waiting else 0.0
        idle_s = max(0.0, self.clock.monotonic_s() - self._learned_at_s)
        return Vitals(
            running=self.running,
            position=position,
            newest_event=newest,
            waiting_s=waiting_s,
            idle_s=idle_s,
            learned_age_s=None if counts.newest_s is None else max(0.0, now_s - counts.newest_s),
            # Where old events are learned again, as after a rollback, they are old and yet nothing stalls.
            stalled=min(waiting_s, idle_s) > self.stalled_after_s,
            outcomes=counts.outcomes,
            feedback=counts.feedback,
            ignored=counts.ignored,
            refused=counts.refused,
            untaught=counts.untaught,
            refused_share=counts.refused_share,
            quarantined=dict(self._quarantined),
        )

    def restore(self, *, quarantine: bool = True) -> None:
        """Load the newest usable checkpoint, then learn what came after it.

        Parameters
        ----------
        quarantine
            Whether unusable ones are marked in the store, so that they are kept and not tried again.
        """
        self.learner.advance_version(max((info.version for info in self.store.states()), default=0))
        for version in reversed(self.store.state_versions()):
            state = self.store.load_state(version)
            if state is None:
                continue
            try:
                self.learner.restore(Checkpoint.from_bytes(state.payload))
            except StateError as error:
                self._set_aside(version, error, quarantine=quarantine)
                continue
            self._checkpointed_position = state.position
            break
        self.catch_up()

    def catch_up(self) -> int:
        """Learn every durable event now, publish if there was any, and return how many there were."""
        learned = 0
        with self._turn:
            try:
                while events := self.store.events_after(self.learner.position, limit=_BATCH_EVENTS):
                    learned += self.learner.learn(events)
                    if self.observe is not None:
                        self.observe(events)
            finally:
                # Also where the store failed in between: what was learned until then would otherwise wait for more.
                if learned:
                    self._learned_at_s = self.clock.monotonic_s()
                    self.publish(self.learner.snapshot())
        return learned

    def merge(self, checkpoint: Checkpoint) -> None:
        """Add what another learner has learned, publish it, and keep a checkpoint: no event tells of it.

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
            self._swap_in(before, self.store.save_state)

    def roll_back(self, to: int | None = None, *, relearn: bool = False) -> RolledBack:
        """Go back to an earlier checkpoint at once; what is known now is kept, in quarantine.

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
        if relearn:
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

    def _keep(self, save: Callable[[LearnedState], _T]) -> _T:
        """Have a checkpoint of what is known now saved."""
        checkpoint = self.learner.checkpoint()
        saved = save(
            LearnedState(
                version=checkpoint.version,
                position=checkpoint.position,
                created_at_s=self.clock.time_s(),
                payload=checkpoint.to_bytes(),
            )
        )
        self._checkpointed_position = checkpoint.position
        self._checkpointed_at_s = self.clock.monotonic_s()
        return saved

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
        while not self._stop.is_set():
            try:
                if self.store.wait_for_events(self.learner.position, timeout_s=_IDLE_WAIT_S):
                    started_s = self.clock.monotonic_s()
                    self.catch_up()
                    # With a thousand LLMs a snapshot takes a while: at least half the time is left to requests.
                    took_s = self.clock.monotonic_s() - started_s
                    self._stop.wait(min(max(self.min_publish_interval_s, took_s), _IDLE_WAIT_S))
                if self.clock.monotonic_s() - self._checkpointed_at_s >= self.checkpoint_interval_s:
                    self.checkpoint()
            except StoreClosedError:
                return
            except StoreError as error:
                # A locked or full disk passes; learning goes on where it stopped when it does.
                _LOG.error("learning is waiting for the store: %s", error)
                self._stop.wait(_IDLE_WAIT_S)
