"""Several processes behind one address: started, watched, started again, and told to stop together."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

__all__ = ["Inheritance", "run_workers"]

_LOG = logging.getLogger(__name__)
_POLL_S = 0.05
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_SETTLED_AFTER_S = 10.0
_PATIENCE_S = 15.0
"""Beyond the grace that a worker gives its own requests: time to learn what is left and to keep it."""


class Inheritance:
    """What a worker gets from its parent: the listening socket, where to say that it is ready, and the parent's life.

    Parameters
    ----------
    listener, ready, life
        Numbers of open files. The other end of `life` closes when the parent ends, however it ends.
    """

    def __init__(self, *, listener: int, ready: int, life: int) -> None:
        self.listener = listener
        self.ready = ready
        self.life = life

    @classmethod
    def parse(cls, text: str) -> Inheritance:
        """Return what `text`, three numbers with commas, says; raises `ValueError`."""
        listener, ready, life = (int(number) for number in text.split(","))
        return cls(listener=listener, ready=ready, life=life)

    def __str__(self) -> str:
        return f"{self.listener},{self.ready},{self.life}"

    @property
    def numbers(self) -> tuple[int, int, int]:
        """All of them."""
        return self.listener, self.ready, self.life

    def say_ready(self, url: str) -> None:
        """Tell the parent that requests are accepted; it knows the `url` itself."""
        del url
        with contextlib.suppress(OSError):  # It may have ended.
            os.write(self.ready, b"r")

    def end_with_parent(self) -> None:
        """Have this process told to stop as soon as its parent has ended."""

        def watch() -> None:
            os.read(self.life, 1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, name="mixllm-parent", daemon=True).start()


class _Worker:
    """One place among the workers, and the process in it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0
        self.due_s = 0.0
        self.pause_s = _FIRST_PAUSE_S


def run_workers(
    command: Callable[[Inheritance], Sequence[str]],
    *,
    listener: socket.socket,
    count: int,
    on_ready: Callable[[], None],
    grace_s: float = 30.0,
) -> int:
    """Keep `count` workers running until SIGTERM or SIGINT, pass that on to them, and wait; return the exit code.

    SIGHUP is passed on too: each of them reads its configuration again. A worker that ends is replaced at once, one
    that ends soon after its start with growing pauses.

    Parameters
    ----------
    command
        Gives the command line of a worker.
    listener
        Where they all accept connections.
    count
        How many.
    on_ready
        Called once, when all of them accept requests for the first time.
    grace_s
        How long their open requests may go on after the signal.

    Notes
    -----
    The exit code is 0 where all was well, that of a worker where one ends before all were ready: what is wrong then is
    wrong with all of them.
    """
    ready_read, ready_write = os.pipe()
    life_read, life_write = os.pipe()
    os.set_blocking(ready_read, False)
    inheritance = Inheritance(listener=listener.fileno(), ready=ready_write, life=life_read)
    workers = [_Worker() for _ in range(count)]
    ready = 0
    code = 0
    with _told_to_stop() as stop, _passing_on_hangups(workers):
        try:
            while not stop.is_set():
                for worker in workers:
                    _keep_running(worker, command(inheritance), inheritance, replace=ready >= count)
                if ready < count:
                    ready += len(_read(ready_read))
                    if ready >= count:
                        on_ready()
                    elif (failed := _first_code(workers)) is not None:
                        code = failed or 1
                        break
                stop.wait(_POLL_S)
        finally:
            _stop(workers, grace_s + _PATIENCE_S)
            for number in (ready_read, ready_write, life_read, life_write):
                os.close(number)
    return code


def _keep_running(worker: _Worker, command: Sequence[str], inheritance: Inheritance, *, replace: bool) -> None:
    now_s = time.monotonic()
    if worker.process is None:
        if now_s >= worker.due_s:
            worker.started_s = now_s
            with _hangups_held():
                # A group of its own: Ctrl-C in a terminal reaches the parent alone, which passes it on in order.
                worker.process = subprocess.Popen(command, pass_fds=inheritance.numbers, process_group=0)  # noqa: S603 -- its own command line
        return
    code = worker.process.poll()
    if code is None or not replace:
        return
    settled = now_s - worker.started_s >= _SETTLED_AFTER_S
    worker.pause_s = _FIRST_PAUSE_S if settled else min(2 * worker.pause_s, _LONGEST_PAUSE_S)
    worker.due_s = now_s if settled else now_s + worker.pause_s
    _LOG.error("worker %d ended with code %d and is started again", worker.process.pid, code)
    worker.process = None


def _first_code(workers: Sequence[_Worker]) -> int | None:
    """Return the code of a worker that has ended; None where all run."""
    codes = [worker.process.poll() for worker in workers if worker.process is not None]
    return next((code for code in codes if code is not None), None)


def _stop(workers: Sequence[_Worker], patience_s: float) -> None:
    running = [worker.process for worker in workers if worker.process is not None]
    for process in running:
        process.terminate()
    deadline_s = time.monotonic() + patience_s
    for process in running:
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            _LOG.error("worker %d did not stop in time and is killed", process.pid)
            process.kill()
            process.wait()


def _read(number: int) -> bytes:
    try:
        return os.read(number, 1024)
    except BlockingIOError:
        return b""


@contextlib.contextmanager
def _hangups_held() -> Iterator[None]:
    """Have a process that is started meanwhile keep a SIGHUP until it can read its configuration again.

    Without that the signal ends a worker that has only just begun.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _passing_on_hangups(workers: Sequence[_Worker]) -> Iterator[None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        for worker in workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.process.send_signal(number)

    before = signal.signal(signal.SIGHUP, pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    stop = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
