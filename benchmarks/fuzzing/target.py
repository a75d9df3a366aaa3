"""What a fuzzer is: makes a case, checks what the code does with it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Protocol

import numpy as np

__all__ = ["Target", "WrongError", "scratch"]

_MEMORY = Path("/dev/shm")


class Target(Protocol):
    """Something that reads what comes from outside."""

    @property
    def name(self) -> str:
        """What it is called on the command line and in results."""
        ...

    def make(self, rng: np.random.Generator) -> bytes:
        """Return a case."""
        ...

    def check(self, case: bytes, rng: np.random.Generator) -> str:
        """Feed `case` in and return what came of it in a word, e.g. ``accepted``; raises where that is a fault."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class WrongError(Exception):
    """The code raised nothing, and what it did was wrong."""


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is gone with the object, in memory where the system has such a place."""
    return tempfile.TemporaryDirectory(prefix="mixllm-fuzzing-", dir=_MEMORY if _MEMORY.is_dir() else None)
