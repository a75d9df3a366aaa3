"""The thread that learns: it tails the store, publishes snapshots and keeps checkpoints."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from mixllm.errors import StateError, StoreClosedError, StoreError
from mixllm.interfaces import Clock, Store
from mixllm.learning.checkpoint import Checkpoint
from mixllm.learning.learner import Learner
from mixllm.learning.snapshot import Snapshot
from mixllm.types import LearnedState, LearningEvent
from mixllm.units import non_negative, positive

__all__ = ["LearningWorker"]

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
    ) -> None:
        self.store = store
        self.learner = learner
        self.publish = publish
        self.observe: Callable[[Sequence[LearningEvent]], None] | None = None
        self.clock = clock
        self.min_publish_interval_s = non_negative("min_publish_interval_s", min_publish_interval_s)
        self.checkpoint_interval_s = positive("checkpoint_interval_s", checkpoint_interval_s)
        self._turn = threading.Lock()
        self._starting = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._checkpointed_position = -1
        self._checkpointed_at_s = clock.monotonic_s()

    @property
    def running(self) -> bool:
        """Whether the background thread is alive."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def restore(self) -> None:
        """Load the newest usable checkpoint, then learn what came after it."""
        versions = self.store.state_versions()
        self.learner.advance_version(max(versions, default=0))
        for version in reversed(versions):
            state = self.store.load_state(version)
            if state is None:
                continue
            try:
                self.learner.restore(Checkpoint.from_bytes(state.payload))
            except StateError as error:
                _LOG.error("checkpoint %d is unusable, trying an older one: %s", version, error)
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
                    self.publish(self.learner.snapshot())
        return learned

    def checkpoint(self, *, always: bool = False) -> None:
        """Keep a checkpoint, unless nothing was learned since the last one; `always` keeps one all the same."""
        with self._turn:
            position = self.learner.position
            if not always and position in (0, self._checkpointed_position):
                return
            checkpoint = self.learner.checkpoint()
            self.store.save_state(
                LearnedState(
                    version=checkpoint.version,
                    position=checkpoint.position,
                    created_at_s=self.clock.time_s(),
                    payload=checkpoint.to_bytes(),
                )
            )
            self._checkpointed_position = position
            self._checkpointed_at_s = self.clock.monotonic_s()

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

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self.store.wait_for_events(self.learner.position, timeout_s=_IDLE_WAIT_S):
                    self.catch_up()
                    self._stop.wait(self.min_publish_interval_s)
                if self.clock.monotonic_s() - self._checkpointed_at_s >= self.checkpoint_interval_s:
                    self.checkpoint()
            except StoreClosedError:
                return
            except StoreError as error:
                # A locked or full disk passes; learning goes on where it stopped when it does.
                _LOG.error("learning is waiting for the store: %s", error)
                self._stop.wait(_IDLE_WAIT_S)
