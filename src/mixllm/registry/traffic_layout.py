"""Where everything is in the file of `SharedTraffic`: names of LLMs, heads of slots, counts, rate windows."""

from __future__ import annotations

import struct
from typing import Final

from mixllm.registry.rate_window import CELLS, COLUMNS
from mixllm.registry.shared_file import is_shared_file

__all__ = [
    "CELLS_AT",
    "COUNTS_AT",
    "DIGEST_BYTES",
    "FILE_BYTES",
    "HEAD",
    "HEADS_AT",
    "HEAD_BYTES",
    "LLMS",
    "MAGIC",
    "NAMES_AT",
    "NOBODY",
    "ROW_BYTES",
    "SLOTS",
    "SLOT_CELL_BYTES",
    "SLOT_COUNT_BYTES",
    "WINDOW_BYTES",
    "beat_of",
    "cell_at",
    "count_at",
    "head_at",
    "is_ours",
]

MAGIC: Final = b"MixLLM traffic 1"
SLOTS: Final = 64
LLMS: Final = 256
DIGEST_BYTES: Final = 16
NOBODY: Final = bytes(DIGEST_BYTES)

HEAD: Final = struct.Struct("=16sQQd")
"""Of a slot: its owner's token, its pid (0: it has left), the pid's namespace, the last beat on the monotonic clock."""

NAMES_AT: Final = 64
HEADS_AT: Final = NAMES_AT + LLMS * DIGEST_BYTES
HEAD_BYTES: Final = 64
COUNTS_AT: Final = HEADS_AT + SLOTS * HEAD_BYTES
ROW_BYTES: Final = LLMS * 8
SLOT_COUNT_BYTES: Final = 2 * ROW_BYTES
"""Calls under way of each LLM, then the ends of their cooldowns."""
CELLS_AT: Final = COUNTS_AT + SLOTS * SLOT_COUNT_BYTES
WINDOW_BYTES: Final = CELLS * COLUMNS * 8
SLOT_CELL_BYTES: Final = LLMS * WINDOW_BYTES
FILE_BYTES: Final = CELLS_AT + SLOTS * SLOT_CELL_BYTES


def is_ours(fd: int) -> bool:
    """Return whether the open file is one of this layout."""
    return is_shared_file(fd, size=FILE_BYTES, magic=MAGIC)


def beat_of(head: bytes) -> float:
    """Return when the process of that head last said that it lives."""
    beat_s: float = HEAD.unpack(head)[3]
    return beat_s


def head_at(slot: int) -> int:
    """Return where the head of a slot begins."""
    return HEADS_AT + slot * HEAD_BYTES


def count_at(slot: int, row: int) -> int:
    """Return where the calls under way of a row are kept; the end of its cooldown is `ROW_BYTES` later."""
    return COUNTS_AT + slot * SLOT_COUNT_BYTES + row * 8


def cell_at(slot: int, row: int, place: int) -> int:
    """Return where a cell of a row's rate window is kept."""
    return CELLS_AT + slot * SLOT_CELL_BYTES + row * WINDOW_BYTES + place * COLUMNS * 8
