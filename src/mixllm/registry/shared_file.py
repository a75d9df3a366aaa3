"""A file of fixed size that several processes of a machine have open."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

__all__ = ["is_shared_file", "open_shared_file"]

_LOG = logging.getLogger(__name__)


def is_shared_file(fd: int, *, size: int, magic: bytes) -> bool:
    """Return whether the open file has that size and begins with `magic`."""
    return os.fstat(fd).st_size == size and os.pread(fd, len(magic), 0) == magic


def open_shared_file(path: Path, *, size: int, magic: bytes) -> int:
    """Open the file for reading and writing and return its number; one that is missing or other is made anew.

    Raises
    ------
    OSError
        Where it can neither be opened nor made.
    """
    flags = os.O_RDWR | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(path, flags)
        if is_shared_file(fd, size=size, magic=magic):
            return fd
        os.close(fd)
        _LOG.warning("%r is damaged or of another version and is made anew", str(path))
    # Beside it and then in its place: whoever has the old one open is not hurt.
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fd = os.open(fresh, flags | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.ftruncate(fd, size)
        os.pwrite(fd, magic, 0)
        fresh.replace(path)
    except BaseException:
        os.close(fd)
        raise
    return fd
