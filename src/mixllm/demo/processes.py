"""The servers of the demo, each in a process of its own, as a user would start them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from mixllm.errors import MixLLMError

__all__ = ["ServerProcess"]

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 20.0
_LOG_TAIL_CHARS = 2000


class ServerProcess:
    """A ``mixllm`` command that serves, from start to stop.

    Parameters
    ----------
    arguments
        Command and options after ``mixllm``.
    health_url
        Answers 200 when the server is ready.
    """

    def __init__(self, *, arguments: Sequence[str], health_url: str) -> None:
        self.arguments = tuple(arguments)
        self.health_url = health_url
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MIXLLM_")}
        self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            [sys.executable, "-m", "mixllm", *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=environ,
            start_new_session=True,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask the server to stop, and make it where it does not."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise MixLLMError(f"'mixllm {self.arguments[0]}' ended at once. Its last words:\n{self._last_words()}")
            try:
                with urllib.request.urlopen(self.health_url, timeout=1.0) as answer:  # noqa: S310 - our own loopback URL
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise MixLLMError(
            f"'mixllm {self.arguments[0]}' was not ready after {_START_LIMIT_S:.0f} s. {self._last_words()}"
        )

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-_LOG_TAIL_CHARS:]
