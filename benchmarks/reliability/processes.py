"""Gateways and upstreams as processes of their own, which may be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import msgspec

_psutil: Any = import_module("psutil")  # It has no types.
_START_S = 90.0
_STOP_S = 60.0


class Process:
    """A Python module that serves on a port.

    Parameters
    ----------
    arguments
        After ``python -m``.
    port
        Where it listens.
    log
        File for what it says.
    """

    def __init__(self, *, arguments: Sequence[str], port: int, log: Path) -> None:
        self.arguments = tuple(arguments)
        self.port = port
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return at once."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MIXLLM_")}
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", *self.arguments]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)

    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def pids(self) -> list[int]:
        """Return the process and its children."""
        assert self._process is not None
        first = _psutil.Process(self._process.pid)
        return [first.pid, *(child.pid for child in first.children(recursive=True))]

    def rss_bytes(self) -> int:
        """Return what the process and its children hold in memory."""
        return sum(_psutil.Process(pid).memory_info().rss for pid in self.pids())

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Ask it to stop, and wait."""
        if self._process is not None and self.runs():
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def health(self) -> dict[str, Any] | None:
        """Return what ``/health/ready`` says; None where nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=5.0) as answer:
                return cast("dict[str, Any]", msgspec.json.decode(answer.read()))
        except OSError:
            return None

    def wait_until_ready(self) -> dict[str, Any]:
        """Return what ``/health/ready`` says once it answers."""
        deadline_s = time.monotonic() + _START_S
        while time.monotonic() < deadline_s:
            health = self.health()
            if health is not None:
                return health
            assert self.runs(), self.log.read_text()[-3000:]
            time.sleep(0.1)
        raise TimeoutError(self.log.read_text()[-3000:])


def wait_until_listening(port: int) -> None:
    """Return when somebody accepts connections there."""
    deadline_s = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
