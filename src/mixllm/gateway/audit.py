"""Who changed the gateway, when, how, and with what result: lines that are only ever added."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mixllm.clock import SystemClock
from mixllm.errors import ConfigError
from mixllm.interfaces import Clock

__all__ = ["Audit", "AuditRecord"]

_LOG = logging.getLogger("mixllm.audit")
_MAX_PATH_CHARS = 300


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change, or the attempt at one.

    Parameters
    ----------
    time
        When, in UTC.
    key_id, key_name
        Whose key it was; empty where no key was asked for, or the one presented is not known.
    client
        Address that it came from.
    action
        Method and path, or the signal.
    status
        The HTTP status of the answer.
    details
        What was changed, without any secret.
    """

    time: str
    key_id: str = ""
    key_name: str = ""
    client: str = ""
    action: str
    status: int
    details: Mapping[str, object] = {}


class Audit:
    """Writes records to the log, and to a file where there is one; thread-safe.

    Parameters
    ----------
    path
        The file; it is only ever appended to, and readable by its owner alone. None: the log alone.
    clock
        Time.

    Raises
    ------
    ConfigError
        Where the file cannot be opened.
    """

    def __init__(self, *, path: Path | None = None, clock: Clock | None = None) -> None:
        self.path = path
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        if path is not None:
            try:
                os.close(self._open(path))
            except OSError as error:
                raise ConfigError(
                    f"gateway.audit_path: {path} cannot be written ({error.strerror}). Choose another file."
                ) from error

    def write(
        self,
        *,
        action: str,
        status: int,
        key_id: str = "",
        key_name: str = "",
        client: str = "",
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Add a record; it is on the disk when the call returns. A file that fails is told of in the log."""
        record = AuditRecord(
            time=datetime.fromtimestamp(self._clock.time_s(), UTC).isoformat(timespec="milliseconds"),
            key_id=key_id,
            key_name=key_name,
            client=client,
            action=action[:_MAX_PATH_CHARS],
            status=status,
            details=details or {},
        )
        line = msgspec.json.encode(record)
        _LOG.info("%s", line.decode(), extra={"audit": msgspec.to_builtins(record)})
        if self.path is None:
            return
        try:
            with self._lock:
                file = self._open(self.path)
                try:
                    os.write(file, line + b"\n")
                    os.fsync(file)
                finally:
                    os.close(file)
        except OSError as error:
            _LOG.error("the audit file cannot be written: %s. The record is in the log alone.", error.strerror)

    @staticmethod
    def _open(path: Path) -> int:
        # Opened anew for each of the few records, so that the file can be moved away at any time.
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
