"""What the process that learns and those that decide say to each other, over a socket of this machine."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec

from mixllm.errors import StateError
from mixllm.learning.rollback import RolledBack
from mixllm.learning.status import LearnerStatus

__all__ = ["Ask", "CatchUp", "Frozen", "Hello", "Keep", "Line", "Look", "Merge", "Message", "Reply", "RollBack", "Told"]

_LENGTH_BYTES = 8
_MOST_BYTES = 1 << 32
_SEND_S = 10
"""Who takes nothing for so long has stopped."""


class _Said(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class Hello(_Said, frozen=True, kw_only=True):
    """The first words of one that decides: the version of its snapshot; those that it is sent are newer."""

    version: int


class Look(_Said, frozen=True, kw_only=True):
    """Something was written into the store."""


class CatchUp(_Said, frozen=True, kw_only=True):
    """Learn every durable event and make every change of the pool."""


class Keep(_Said, frozen=True, kw_only=True):
    """Keep a checkpoint (see `LearningWorker.checkpoint`)."""

    always: bool


class RollBack(_Said, frozen=True, kw_only=True):
    """Go back to an earlier checkpoint (see `LearningWorker.roll_back`)."""

    to: int | None
    relearn: bool


class Merge(_Said, frozen=True, kw_only=True):
    """Add what another learner has learned: a checkpoint's bytes."""

    payload: bytes


class Ask(_Said, frozen=True, kw_only=True):
    """Something to be done, and a number for the reply."""

    number: int
    what: CatchUp | Keep | RollBack | Merge


class Reply(_Said, frozen=True, kw_only=True):
    """What came of what was asked; every snapshot that it made was sent before.

    Parameters
    ----------
    number
        That of the question.
    learned
        How many events were learned.
    rolled_back
        What a rollback did.
    refused, failed
        Why it cannot be done: because of the state asked for, or of the store. None: it was done.
    """

    number: int
    learned: int = 0
    rolled_back: RolledBack | None = None
    refused: str | None = None
    failed: str | None = None


class Told(_Said, frozen=True, kw_only=True):
    """How far learning is."""

    status: LearnerStatus


class Frozen(_Said, frozen=True, kw_only=True):
    """A snapshot (see `mixllm.learning.snapshot_bytes`), and the number of the last change of the pool in it."""

    change: int
    content: bytes


Message = Hello | Look | Ask | Reply | Told | Frozen

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class Line:
    """One end of a connection; any thread may say something, one listens.

    Parameters
    ----------
    connected
        The socket; it is closed with the line.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_S, 0))
        self._socket = connected
        self._turn = threading.Lock()

    @classmethod
    def to(cls, path: Path) -> Self:
        """Connect to the socket at `path`; raises `OSError` where nobody listens there."""
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.connect(str(path))
        except OSError:
            connected.close()
            raise
        return cls(connected)

    def say(self, message: Message) -> None:
        """Send `message`; raises `OSError`, and ends the connection, where the other end is gone or takes nothing."""
        content = _ENCODER.encode(message)
        with self._turn:
            try:
                self._socket.sendall(len(content).to_bytes(_LENGTH_BYTES, "little") + content)
            except OSError:
                self._end()  # A part of it may be on its way: nothing can follow.
                raise

    def heard(self) -> Iterator[Message]:
        """Yield what the other end says, until it is gone.

        Raises
        ------
        OSError
            Where the connection breaks.
        StateError
            Where something is said that has no meaning.
        """
        while (head := self._read(_LENGTH_BYTES)) is not None:
            length = int.from_bytes(head, "little")
            if length > _MOST_BYTES:
                raise StateError("Something was said that is no message. Restart the gateway.")
            content = self._read(length)
            if content is None:
                return
            try:
                yield _DECODER.decode(content)
            except msgspec.MsgspecError as error:
                raise StateError(f"A message cannot be read ({error}). Restart the gateway.") from error

    def close(self) -> None:
        """End the connection; both ends notice."""
        self._end()
        self._socket.close()

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self, size: int) -> bytearray | None:
        """Return the next bytes; None where the other end is gone."""
        content = bytearray(size)
        rest = memoryview(content)
        while rest:
            received = self._socket.recv_into(rest)
            if not received:
                return None
            rest = rest[received:]
        return content
