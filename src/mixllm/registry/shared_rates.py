"""Buckets of requests that the processes of one machine share: a small file, no server."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mixllm.registry.shared_file import open_shared_file

__all__ = ["SharedLevel", "SharedRates"]

_LOG = logging.getLogger(__name__)

_MAGIC: Final = b"MixLLM rates 1\n\0"
_DIGEST_BYTES: Final = 16
_ROW: Final = struct.Struct("=16sd")
_ROWS_AT: Final = 64
_ROW_BYTES: Final = 32
_ROWS: Final = 16_384
_FILE_BYTES: Final = _ROWS_AT + _ROWS * _ROW_BYTES
_LEVEL: Final = struct.Struct("=d")
_NOBODY: Final = bytes(_DIGEST_BYTES)
_TRIES: Final = 64


class SharedLevel:
    """One number of the file, that processes change in turns.

    It is locked for the two calls of the system that read and write it. Who cannot have the lock after a few tries goes
    on without: to count one request too few is better than to let a request wait for a process that has been stopped.

    Parameters
    ----------
    rates
        Has the open file; once it is closed, nothing is shared any more.
    at
        Where the number is.
    """

    __slots__ = ("_at", "_failing", "_locked", "_rates")

    def __init__(self, *, rates: SharedRates, at: int) -> None:
        self._rates = rates
        self._at = at
        self._locked = False
        self._failing = False

    def take(self, own: float) -> float:
        """Begin a change: return the number; `own` where the file cannot be read. `put` has to follow."""
        import fcntl  # POSIX alone has it

        for _ in range(_TRIES):
            try:
                fcntl.lockf(self._rates.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _LEVEL.size, self._at)
            except BlockingIOError:
                continue
            except (OSError, ValueError) as error:  # The latter where the file is closed.
                self._fail(error)
                break
            self._locked = True
            break
        try:
            read = os.pread(self._rates.fd, _LEVEL.size, self._at)
        except OSError as error:
            self._fail(error)
            return own
        if len(read) < _LEVEL.size:
            self._fail(OSError("the file has been cut short"))
            return own
        value: float = _LEVEL.unpack(read)[0]
        return value if math.isfinite(value) else own

    def put(self, value: float | None) -> None:
        """End a change: write `value`; None leaves the number as it is."""
        import fcntl

        try:
            if value is not None and not self._failing:
                os.pwrite(self._rates.fd, _LEVEL.pack(value), self._at)
        except OSError as error:
            self._fail(error)
        finally:
            if self._locked:
                self._locked = False
                with contextlib.suppress(OSError, ValueError):
                    fcntl.lockf(self._rates.fd, fcntl.LOCK_UN, _LEVEL.size, self._at)

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            _LOG.warning("rates of keys are not shared with other processes any more: %s", error)


class SharedRates:
    """A file with a number for each key: when its bucket will be full again, on the clock that all processes share.

    Parameters
    ----------
    path
        The file; made where it does not exist, and made anew where it is none of ours. Its folder has to exist.

    Notes
    -----
    Nothing raises: with a file that cannot be used, each process counts for itself, which is logged. The file holds
    hashes of the keys' names and nothing else. It takes 16,384 names in its life; further ones are counted by each
    process for itself.
    """

    def __init__(self, *, path: Path) -> None:
        self.path = path
        self.fd = -1
        self._places: dict[bytes, int] = {}
        try:
            with self._locked():
                self.fd = open_shared_file(self.path, size=_FILE_BYTES, magic=_MAGIC)
        except OSError as error:
            _LOG.warning("rates of keys are not shared with other processes: %s", error)

    def level(self, name: str) -> SharedLevel | None:
        """Return the number of `name`, 0.0 where it is new; None where it cannot be shared."""
        if self.fd < 0:
            return None
        digest = hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).digest()
        try:
            at = self._places.get(digest)
            if at is None:
                with self._locked():
                    at = self._places[digest] = self._place(digest)
        except OSError as error:
            _LOG.warning("the rate of %s is not shared with other processes: %s", name, error)
            return None
        return SharedLevel(rates=self, at=at)

    def close(self) -> None:
        """Let go of the file; who goes on counts for itself."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _place(self, digest: bytes) -> int:
        """Return where the number of `digest` is, on a row of its own; with the lock held."""
        first = int.from_bytes(digest[:8], "little")
        for step in range(_ROWS):
            row_at = _ROWS_AT + (first + step) % _ROWS * _ROW_BYTES
            known = os.pread(self.fd, _DIGEST_BYTES, row_at)
            if known == _NOBODY:
                os.pwrite(self.fd, _ROW.pack(digest, 0.0), row_at)
            if known in (_NOBODY, digest):
                return row_at + _DIGEST_BYTES
        raise OSError(f"{str(self.path)!r} is full; delete it while no gateway runs")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl

        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
