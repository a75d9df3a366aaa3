"""The local copy of what a start reads: one file beside the spool, for a start while the database is away."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
import zlib
from contextlib import suppress
from pathlib import Path

import msgspec

from mixllm.errors import StateError, StoreError
from mixllm.manifest import open_manifest, seal_manifest
from mixllm.store.rows import pool_change_body, pool_change_from_body
from mixllm.types import KeptStart, LearnedState, PlacedChange, PoolChange, Spending, Value

__all__ = ["LocalStart", "StartFile"]

_LOG = logging.getLogger("mixllm.store")

_SUFFIX = ".start"
_PART = ".part"
_MAGIC = b"mixllm-start\n"
_SCHEMA = 1
_LEFT_AFTER_S = 600.0
"""A part that is older belongs to a process that was killed while it wrote."""


class LocalStart(Value, frozen=True, kw_only=True):
    """What the file holds.

    Parameters
    ----------
    log_id
        Which log of events it belongs to (``totals.log_id``).
    start
        What a start reads.
    """

    log_id: str
    start: KeptStart


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    place: str
    log_id: str
    version: int
    position: int
    created_at_s: float
    change: int
    changes: tuple[tuple[int, int, str], ...] = ()
    spending: Spending | None = None


class StartFile:
    """Keeps a `KeptStart` as one file: a JSON manifest and the checkpoint, with one checksum over both.

    The file is replaced as a whole: whoever reads it sees the one before or the new one. Processes of one machine may
    share the folder; what is newer stays.

    Parameters
    ----------
    folder
        The spool's; None: nothing is kept.
    place
        What the database is called; each has a file of its own.
    max_bytes
        What is larger is neither written nor read.
    """

    def __init__(self, *, folder: Path | None, place: str, max_bytes: int) -> None:
        self._place = place
        self._max_bytes = max_bytes
        self._turn = threading.Lock()
        self._told = False
        self._path = None if folder is None else folder / f"{zlib.crc32(place.encode()):08x}{_SUFFIX}"

    def exists(self) -> bool:
        """Return whether there is a file, whatever is in it."""
        return self._path is not None and self._path.is_file()

    def write(self, start: KeptStart, *, log_id: str) -> None:
        """Replace the file, unless it holds what is as new; a disk that takes nothing is logged once."""
        if self._path is None:
            return
        manifest = _Manifest(
            schema=_SCHEMA,
            place=self._place,
            log_id=log_id,
            version=start.state.version,
            position=start.state.position,
            created_at_s=start.state.created_at_s,
            change=start.change,
            changes=tuple(
                (one.number, one.after_seq, pool_change_body(one.change))
                for one in start.changes
                if isinstance(one.change, PoolChange)
            ),
            spending=start.spending,
        )
        with self._turn:
            try:
                if not _is_as_new(self._path, manifest):
                    sealed = seal_manifest(manifest, start.state.payload)
                    content = b"".join((_MAGIC, len(sealed).to_bytes(8, "little"), sealed, start.state.payload))
                    self._replace(self._path, content)
                self._told = False
            except OSError as error:
                self._tell(f"cannot be written ({error})")

    def read(self) -> LocalStart | None:
        """Return what was written last; None where there is nothing that can be used, which is logged."""
        try:
            if self._path is None or self._path.stat().st_size > self._max_bytes:
                return None
            return _decoded(self._path.read_bytes(), place=self._place)
        except FileNotFoundError:
            return None
        except (OSError, StateError, StoreError) as error:
            _LOG.error("The local copy %r is of no use: %s", str(self._path), error)
            return None

    def _replace(self, path: Path, content: bytes) -> None:
        if len(content) > self._max_bytes:
            self._tell(f"would have {len(content)} bytes, more than store.max_spool_bytes, and is not kept")
            return
        path.parent.mkdir(exist_ok=True)
        for left in path.parent.glob(f"{path.name}.*{_PART}"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _LEFT_AFTER_S:
                    left.unlink()
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_PART}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _tell(self, what: str) -> None:
        if not self._told:
            self._told = True
            _LOG.error("The local copy %r %s: a start without the database may not be possible", str(self._path), what)


def _is_as_new(path: Path, manifest: _Manifest) -> bool:
    """Return whether the file holds what is at least as new; what it says of itself alone is read, and not checked."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC) + 8)
            known = msgspec.json.decode(file.read(int.from_bytes(head[len(_MAGIC) :], "little")), type=_Manifest)
    except (FileNotFoundError, ValueError, OverflowError):  # msgspec's errors are ValueErrors
        return False
    here = (manifest.change, manifest.position, manifest.spending is not None)
    return known.log_id == manifest.log_id and (known.change, known.position, known.spending is not None) >= here


def _decoded(content: bytes, *, place: str) -> LocalStart:
    start = len(_MAGIC) + 8
    end = start + int.from_bytes(content[len(_MAGIC) : start], "little")
    if not content.startswith(_MAGIC):
        raise StateError("it does not begin as one does.")
    payload = content[end:]
    advice = "Nothing is lost: the database has it."
    manifest = open_manifest(
        content[start:end], payload, kind=_Manifest, schema=_SCHEMA, name="it", exact=True, advice=advice
    )
    if manifest.place != place:
        raise StateError(f"it belongs to {manifest.place}.")
    return LocalStart(
        log_id=manifest.log_id,
        start=KeptStart(
            state=LearnedState(
                version=manifest.version,
                position=manifest.position,
                created_at_s=manifest.created_at_s,
                payload=payload,
            ),
            change=manifest.change,
            changes=tuple(
                PlacedChange(number=number, after_seq=after_seq, change=pool_change_from_body(body))
                for number, after_seq, body in manifest.changes
            ),
            spending=manifest.spending,
        ),
    )
