"""Learning beside the gateway, in a process of its own: started, watched, started again, and ended after all others."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from mixllm.assembly import Router
from mixllm.config import Config
from mixllm.errors import ConfigError
from mixllm.learning.apart import LearningServer

__all__ = ["LearnerProcess", "learn_apart", "learns_apart"]

_LOG = logging.getLogger(__name__)
_SOCKET = "learner"
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_SETTLED_AFTER_S = 10.0
_PATIENCE_S = 30.0
"""Time to learn what is left and to keep it."""

_NICE = 5
"""Requests come first where the processors are all at work."""

_PUBLISH_EVERY_S = 0.1
"""Every worker swaps each snapshot in: under load ten a second are fresh enough. After a pause one comes at once."""

_LONGEST_PATH = 100
"""Systems take paths of sockets that are little longer."""

_HELD = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) if os.name == "posix" else ()
"""Signals that the process which learns never sees: what ends all others ends it when they have told it everything."""


class LearnerProcess:
    """Keeps the process that learns running, from `start` to the end of the context; it tells on a socket of its own.

    Where it ends, it is started again, soon after its start with growing pauses. At the end of the context, and where
    this process ends without one, it learns what is left, keeps it and ends.

    Parameters
    ----------
    command
        Gives the command line, from what the process gets from this one (see `learn_apart`).

    Raises
    ------
    OSError
        Where there is no place for the socket.

    Attributes
    ----------
    path
        The socket.
    """

    def __init__(self, command: Callable[[str], Sequence[str]]) -> None:
        self._command = command
        self._folder = Path(tempfile.mkdtemp(prefix="mixllm-"))  # Nobody else may enter it.
        self.path = self._folder / _SOCKET
        if len(os.fsencode(self.path)) > _LONGEST_PATH:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise OSError(f"{str(self._folder)!r} is too long for the path of a socket. Set TMPDIR to a shorter one")
        self._life_read, self._life_write = os.pipe()
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_running, name="mixllm-learner", daemon=True)

    def start(self) -> None:
        """Start the process; a second call does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        os.close(self._life_write)
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE_S)
        if self._thread.is_alive() and self._process is not None:
            _LOG.error("the process that learns did not stop in time and is killed")
            self._process.kill()
            self._thread.join()
        os.close(self._life_read)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _keep_running(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)  # For what is started from this thread.
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            started_s = time.monotonic()
            ended = self._run_once()
            if self._closing.is_set():
                return
            settled = time.monotonic() - started_s >= _SETTLED_AFTER_S
            pause_s = _FIRST_PAUSE_S if settled else min(2 * pause_s, _LONGEST_PAUSE_S)
            _LOG.error("the process that learns %s and is started again", ended)
            self._closing.wait(0.0 if settled else pause_s)

    def _run_once(self) -> str:
        """Run the process to its end, and return how it ended."""
        try:
            self._process = subprocess.Popen(  # noqa: S603 -- its own command line
                self._command(f"{self.path},{self._life_read}"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(self._life_read,),
                process_group=0,
            )
        except OSError as error:
            return f"cannot be started ({error.strerror})"
        return f"ended with code {self._process.wait()}"


def learns_apart(config: Config) -> bool:
    """Return whether a process of its own is to learn for the gateway of `config`.

    Raises
    ------
    ConfigError
        Where the configuration asks for one that cannot be had.
    """
    wanted = config.learning.process
    if wanted is False:
        return False
    reason = None
    if os.name != "posix":
        reason = "it needs a POSIX system"
    elif config.store.kind == "memory":
        reason = "it needs a store that processes can share: set store.kind: sqlite"
    if wanted and reason is not None:
        raise ConfigError(f"learning.process: {reason}. Or leave learning.process out.")
    return reason is None


def learn_apart(config: Config, *, inherited: str) -> None:
    """Learn from the store of `config` and tell what is learned, until the parent ends or says so.

    Parameters
    ----------
    config
        The configuration of the gateway.
    inherited
        What the parent gives: the socket's path and, after a comma, the number of an open file whose other end closes
        when the parent ends, however it ends.
    """
    path, _, life = inherited.rpartition(",")
    # It decides nothing, so nothing is tried beside. A budget is charged here too: what it has spent belongs to what a
    # start without the database needs, which is kept by whoever learns.
    routing = msgspec.structs.replace(config.routing, shadow=())
    with Router.from_config(msgspec.structs.replace(config, routing=routing)) as router:
        os.nice(_NICE)
        router.worker.min_publish_interval_s = _PUBLISH_EVERY_S
        del router.encoder  # By far the largest part, and texts do not come here.
        router.worker.start()
        with LearningServer(worker=router.worker, path=Path(path)):
            os.read(int(life), 1)
