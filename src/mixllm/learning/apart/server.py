"""The side that learns: it publishes every snapshot to those that decide, and does what they ask for."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from mixllm.errors import StateError, StoreClosedError, StoreError
from mixllm.learning.apart.messages import Ask, CatchUp, Frozen, Hello, Keep, Line, Look, Merge, Reply, RollBack, Told
from mixllm.learning.checkpoint import Checkpoint
from mixllm.learning.snapshot import Snapshot
from mixllm.learning.snapshot_bytes import snapshot_to_bytes
from mixllm.learning.worker import LearningWorker

__all__ = ["LearningServer"]

_LOG = logging.getLogger(__name__)
_TELL_EVERY_S = 0.5
_TELLING_SHARE = 0.05
_LONGEST_PAUSE_S = 2.0
_BACKLOG = 64


class LearningServer:
    """Tells other processes of this machine what a `LearningWorker` knows, as it learns it.

    Each that connects is sent the newest snapshot, and every one that follows; where it is slow, those in between are
    left out. What it asks for is done by the worker, and the reply comes after the snapshots that it made.

    Parameters
    ----------
    worker
        Learns; its snapshots are published here too from now on.
    path
        Where the socket is to be; its folder keeps others out. What is there is replaced.
    """

    def __init__(self, *, worker: LearningWorker, path: Path) -> None:
        self.worker = worker
        self.path = path
        self._publish = worker.publish
        worker.publish = self._publish_to_all
        self._lock = threading.Lock()
        self._guests: set[_Guest] = set()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(path))
            self._listener.listen(_BACKLOG)
        except OSError:
            self._listener.close()
            raise
        self._thread = threading.Thread(target=self._accept, name="mixllm-learning-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let nobody in any more, and end every connection; the worker goes on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.path.unlink(missing_ok=True)
        with self._lock:
            guests, self._guests = self._guests, set()
        for guest in guests:
            guest.close()
        self.worker.publish = self._publish

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def welcome(self, guest: _Guest, version: int) -> None:
        """Send what is known now to `guest`, as a snapshot of a version above `version`, and all that follows."""
        with self.worker.paused():
            self.worker.learner.advance_version(version)
            snapshot = self.worker.learner.snapshot()
            with self._lock:
                self._guests.add(guest)
            self.worker.publish(snapshot)

    def leave(self, guest: _Guest) -> None:
        """Send nothing more to `guest`."""
        with self._lock:
            self._guests.discard(guest)

    def _publish_to_all(self, snapshot: Snapshot) -> None:
        self._publish(snapshot)
        with self._lock:
            guests = tuple(self._guests)
        for guest in guests:
            guest.offer(snapshot, self.worker.change)

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            _Guest(server=self, line=Line(connected)).start()


class _Guest:
    """One process that decides: a thread does what it asks for, another one tells it what is new."""

    def __init__(self, *, server: LearningServer, line: Line) -> None:
        self._server = server
        self._worker = server.worker
        self._line = line
        self._changed = threading.Condition()
        self._offered: tuple[Snapshot, int] | None = None
        self._replies: list[Reply] = []
        self._sent: Snapshot | None = None
        self._gone = False
        self._pause_s = 0.0

    def start(self) -> None:
        """Begin to listen and to tell."""
        for name, run in (("asked", self._listen), ("told", self._tell)):
            threading.Thread(target=run, name=f"mixllm-learning-{name}", daemon=True).start()

    def offer(self, snapshot: Snapshot, change: int) -> None:
        """Have `snapshot` sent, in the place of one that still waits."""
        with self._changed:
            self._offered = snapshot, change
            self._changed.notify()

    def close(self) -> None:
        """End the connection."""
        with self._changed:
            self._gone = True
            self._changed.notify()
        self._line.close()

    def _listen(self) -> None:
        try:
            for message in self._line.heard():
                if isinstance(message, Hello):
                    self._server.welcome(self, message.version)
                elif isinstance(message, Look):
                    self._worker.look()
                elif isinstance(message, Ask):
                    self._reply(self._answer(message))
        except (OSError, StateError, StoreClosedError) as error:
            _LOG.debug("a process that decides is gone: %s", error)
        finally:
            self._server.leave(self)
            self.close()

    def _answer(self, ask: Ask) -> Reply:
        what = ask.what
        try:
            if isinstance(what, CatchUp):
                return Reply(number=ask.number, learned=self._worker.catch_up())
            if isinstance(what, RollBack):
                done = self._worker.roll_back(what.to, relearn=what.relearn)
                return Reply(number=ask.number, rolled_back=done)
            if isinstance(what, Merge):
                self._worker.merge(Checkpoint.from_bytes(what.payload))
            elif isinstance(what, Keep):
                self._worker.checkpoint(always=what.always)
            return Reply(number=ask.number)
        except StoreError as error:
            return Reply(number=ask.number, failed=str(error))
        except StateError as error:
            return Reply(number=ask.number, refused=str(error))

    def _reply(self, reply: Reply) -> None:
        with self._changed:
            self._replies.append(reply)
            self._changed.notify()

    def _tell(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._replies or self._gone, timeout=self._pause_s)
                    self._changed.wait_for(
                        lambda: self._offered is not None or self._replies or self._gone, timeout=_TELL_EVERY_S
                    )
                    offered, self._offered = self._offered, None
                    replies, self._replies = self._replies, []
                    if self._gone:
                        return
                started_s = time.monotonic()
                self._line.say(Told(status=self._worker.status()))
                self._pause_s = 0.0
                if offered is not None:
                    self._tell_snapshot(*offered)
                    # To read and swap in what took so long to write takes as long, from the time of requests.
                    self._pause_s = min((time.monotonic() - started_s) / _TELLING_SHARE, _LONGEST_PAUSE_S)
                for reply in replies:
                    self._line.say(reply)
        except OSError as error:
            _LOG.debug("a process that decides is gone: %s", error)
            self._line.close()

    def _tell_snapshot(self, snapshot: Snapshot, change: int) -> None:
        features = self._worker.learner.fingerprint
        content = snapshot_to_bytes(snapshot, features=features, after=self._sent)
        self._line.say(Frozen(change=change, content=content))
        self._sent = snapshot
