"""One picture of the traffic for several processes on one machine: a small file, no server."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mixllm.registry.rate_window import CELLS, COLUMNS
from mixllm.registry.shared_file import open_shared_file
from mixllm.registry.traffic_layout import (
    COUNTS_AT,
    DIGEST_BYTES,
    FILE_BYTES,
    HEAD,
    HEAD_BYTES,
    HEADS_AT,
    LLMS,
    MAGIC,
    NAMES_AT,
    NOBODY,
    ROW_BYTES,
    SLOT_CELL_BYTES,
    SLOT_COUNT_BYTES,
    SLOTS,
    WINDOW_BYTES,
    beat_of,
    cell_at,
    count_at,
    head_at,
    is_ours,
)

__all__ = ["SharedTraffic", "can_share"]

_LOG = logging.getLogger(__name__)

_MOST_CALLS: Final = 1e6
_BEAT_S: Final = 0.5
_DEAD_AFTER_S: Final = 5.0
_REMEMBERED_S: Final = 120.0
"""What a process did in its last minute counts against rate limits also when it has ended."""


def can_share() -> bool:
    """Return whether this system has what `SharedTraffic` needs: POSIX's reads and writes at a place, and locks."""
    return hasattr(os, "pread") and os.name == "posix"


_NOWHERE: Final[tuple[int, dict[str, int]]] = (-1, {})


class SharedTraffic:
    """A `mixllm.registry.OtherTraffic` in a file: each process writes its own slot, and adds up those of the others.

    Parameters
    ----------
    path
        The file; made where it does not exist, and made anew where it is none of ours.
    counts
        Gives this process's calls under way, by LLM.
    llms
        Gives the names of the LLMs of the pool.
    beat_s
        How often the slot says that its process lives.
    dead_after_s
        A slot that has said nothing for so long belongs to nobody.

    Notes
    -----
    The file is read and written with single calls of the system, each of which the kernel does at once for so few
    bytes, rather than mapped: a file that somebody cuts short is then a short read, and not the end of the process.
    Only to take a slot and to name an LLM for the first time a lock is held, by the thread that beats; never for a
    decision. Times
    are those of the monotonic clock, which all processes of one boot share: after another boot every slot is dead.

    While no other process lives, counts and cells are written with the next beat: nobody reads them, and a system call
    takes longer than all else that a call costs here. A process that joins is told everything within one beat; one that
    is killed alone takes the rate windows of its last beat along.

    A slot is alive where it has beaten in the last `dead_after_s`, and its process exists as far as that can be known.
    Nothing here raises once it is made: with a file that cannot be used, this process sees itself alone, which it logs
    once, and tries again with every beat.
    """

    def __init__(
        self,
        *,
        path: Path,
        counts: Callable[[], dict[str, int]],
        llms: Callable[[], Iterable[str]],
        beat_s: float = _BEAT_S,
        dead_after_s: float = _DEAD_AFTER_S,
    ) -> None:
        self.path = path
        self.beat_s = beat_s
        self.dead_after_s = dead_after_s
        self._own_counts = counts
        self._llms = llms
        self._turn = threading.Lock()
        self._told_cooldowns: dict[str, float] = {}
        self._told_cells: dict[str, dict[int, NDArray[np.float64]]] = {}
        # Of the cells told while nobody else lived; single operations on it need no lock.
        self._unwritten: dict[tuple[str, int], NDArray[np.float64]] = {}
        self._token = secrets.token_bytes(16)
        self._namespace = _pid_namespace()
        self._fd = -1
        self._others: tuple[int, ...] = ()
        self._recent: tuple[int, ...] = ()
        # Slot and rows change together, as other threads read them without a lock.
        self._place: tuple[int, dict[str, int]] = _NOWHERE
        self._failing = False
        self._stop = threading.Event()
        self.beat()
        self._thread = threading.Thread(target=self._run, name="mixllm-traffic", daemon=True)
        self._thread.start()

    @property
    def workers(self) -> int:
        """How many processes share the picture, this one included."""
        return len(self._others) + 1

    # ---- the others -------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return the calls that the others have under way, by LLM."""
        totals = np.zeros(LLMS)
        for slot in self._others:
            values = self._read_row(COUNTS_AT + slot * SLOT_COUNT_BYTES)
            np.add(totals, values, out=totals, where=(values > 0) & (values < _MOST_CALLS))
        return {llm: int(totals[row]) for llm, row in self._place[1].items() if totals[row] >= 1}

    def cooldowns(self) -> dict[str, float]:
        """Return until when LLMs have asked the others to wait, on the monotonic clock."""
        latest = np.zeros(LLMS)
        for slot in self._recent:
            np.fmax(latest, self._read_row(COUNTS_AT + slot * SLOT_COUNT_BYTES + ROW_BYTES), out=latest)
        return {llm: float(latest[row]) for llm, row in self._place[1].items() if latest[row] > 0}

    def cells(self, llms: Sequence[str]) -> NDArray[np.float64]:
        """Return the cells of the others' rate windows of K LLMs, shape (K, n, 3)."""
        known = self._place[1]
        rows = [known.get(llm, -1) for llm in llms]
        recent = self._recent
        found = np.zeros((len(llms), len(recent), CELLS, COLUMNS))
        taken = [row for row in rows if row >= 0]
        if taken:
            # All that lies between the first and the last of them at once: a read costs more than what it reads.
            first, number = min(taken), max(taken) - min(taken) + 1
            places = [place for place, row in enumerate(rows) if row >= 0]
            chosen = np.array(taken) - first
            for column, slot in enumerate(recent):
                read = self._read(cell_at(slot, first, 0), number * WINDOW_BYTES)
                windows = np.frombuffer(read, np.float64).reshape(number, CELLS, COLUMNS)
                found[places, column] = windows[chosen]
            found[~((found >= 0) & (found < np.inf)).all(axis=-1)] = 0.0
        return found.reshape(len(llms), -1, COLUMNS)

    # ---- this one ---------------------------------------------------------------------------------------------------

    def tell_count(self, llm: str, count: int) -> None:
        """Tell how many calls this process has under way."""
        slot, rows = self._place
        if self._others and llm in rows:
            self._write(count_at(slot, rows[llm]), count)

    def tell_cooldown(self, llm: str, until_s: float) -> None:
        """Tell until when an LLM has asked to wait."""
        self._told_cooldowns[llm] = until_s
        slot, rows = self._place
        if llm in rows:
            self._write(count_at(slot, rows[llm]) + ROW_BYTES, until_s)

    def tell_cell(self, llm: str, place: int, cell: NDArray[np.float64]) -> None:
        """Tell one cell of this process's rate window."""
        self._told_cells.setdefault(llm, {})[place] = cell
        if not self._others:
            self._unwritten[llm, place] = cell
            return
        slot, rows = self._place
        if llm in rows:
            self._write(cell_at(slot, rows[llm], place), cell)

    def beat(self) -> None:
        """Say that this process lives, look who else does, and take a slot where it has none (any more)."""
        with self._turn:
            try:
                if not self._holds_slot():
                    self._join()
                self._put_head(os.getpid())
                self._look_around()
                self._name(self._llms())
                counts = self._own_counts()
                for llm, row in self._place[1].items():
                    # Also where calls were forgotten by their callers, which nobody else would tell.
                    self._put(count_at(self._place[0], row), struct.pack("=d", counts.get(llm, 0)))
                self._write_cells()
                self._failing = False
            except (OSError, ValueError, struct.error) as error:
                self._fail(error)

    def close(self) -> None:
        """Leave the picture; what was done in the last minute stays in it."""
        self._stop.set()
        self._thread.join()
        with self._turn:
            with contextlib.suppress(OSError):
                if self._holds_slot():
                    self._write_cells()
                    self._put(COUNTS_AT + self._place[0] * SLOT_COUNT_BYTES, bytes(ROW_BYTES))
                    self._put_head(0)
            fd, self._fd, self._place, self._others, self._recent = self._fd, -1, _NOWHERE, (), ()
            if fd >= 0:
                os.close(fd)

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(self.beat_s):
            self.beat()

    def _holds_slot(self) -> bool:
        """Whether the slot is still this process's own, in the file that is at the path now."""
        if self._place[0] < 0 or not self.path.exists():
            return False
        here, there = os.fstat(self._fd), self.path.stat()
        return (
            (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
            and is_ours(self._fd)
            and os.pread(self._fd, len(self._token), head_at(self._place[0])) == self._token
        )

    def _join(self) -> None:
        """Open the file, made anew where it is damaged, take a free slot, and write into it what is known."""
        self._place, self._others, self._recent = _NOWHERE, (), ()
        with self._locked():
            self._adopt(open_shared_file(self.path, size=FILE_BYTES, magic=MAGIC))
            heads = dict(self._heads())
            # One that was never used before one whose last minute may still count.
            free = [slot for slot in range(SLOTS) if slot not in heads]
            free += sorted(
                (slot for slot in heads if not self._alive(heads[slot])), key=lambda slot: beat_of(heads[slot])
            )
            if not free:
                raise OSError(f"all {SLOTS} slots of {str(self.path)!r} are taken")
            slot = free[0]
            self._put(COUNTS_AT + slot * SLOT_COUNT_BYTES, bytes(SLOT_COUNT_BYTES))
            self._put(cell_at(slot, 0, 0), bytes(SLOT_CELL_BYTES))
            self._place = (slot, {})
            self._put_head(os.getpid())

    def _adopt(self, fd: int) -> None:
        """Use another file from now on, under the same number: another thread may be about to write to it."""
        if self._fd < 0:
            self._fd = fd
            return
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)

    def _look_around(self) -> None:
        heads = [(slot, head) for slot, head in self._heads() if slot != self._place[0]]
        now_s = time.monotonic()
        self._others = tuple(slot for slot, head in heads if self._alive(head))
        self._recent = tuple(slot for slot, head in heads if -1.0 < now_s - beat_of(head) < _REMEMBERED_S)

    def _name(self, llms: Iterable[str]) -> None:
        """Find the row of every LLM, those that the file does not know yet on a row of their own while there is one."""
        names = self._names()
        digests = {llm: _digest(llm) for llm in llms}
        if not set(digests.values()) <= set(names) and NOBODY in names:
            with self._locked():
                names = self._names()
                for digest in digests.values():
                    if digest not in names and NOBODY in names:
                        row = names.index(NOBODY)
                        self._put(NAMES_AT + row * DIGEST_BYTES, digest)
                        names[row] = digest
        known = {name: row for row, name in enumerate(names)}
        slot, before = self._place
        rows = {llm: known[digest] for llm, digest in digests.items() if digest in known}
        self._place = (slot, rows)
        for llm in [llm for llm, row in rows.items() if before.get(llm) != row]:
            self._tell_again(llm)

    def _tell_again(self, llm: str) -> None:
        """Write what was told before the LLM had its row."""
        until_s = self._told_cooldowns.get(llm)
        if until_s is not None:
            self.tell_cooldown(llm, until_s)
        slot, rows = self._place
        for place, cell in list(self._told_cells.get(llm, {}).items()):
            self._write(cell_at(slot, rows[llm], place), cell)

    def _write_cells(self) -> None:
        """Write the cells that were told while nobody else lived."""
        slot, rows = self._place
        while self._unwritten:
            # Taken out before it is written: what is told meanwhile is written once more.
            (llm, place), cell = self._unwritten.popitem()
            if llm in rows:
                self._put(cell_at(slot, rows[llm], place), cell.tobytes())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl  # POSIX alone has it

        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _names(self) -> list[bytes]:
        read = os.pread(self._fd, LLMS * DIGEST_BYTES, NAMES_AT)
        return [read[at : at + DIGEST_BYTES] for at in range(0, len(read), DIGEST_BYTES)]

    def _heads(self) -> Iterator[tuple[int, bytes]]:
        read = os.pread(self._fd, SLOTS * HEAD_BYTES, HEADS_AT)
        for slot in range(len(read) // HEAD_BYTES):
            head = read[slot * HEAD_BYTES :][: HEAD.size]
            if any(head):
                yield slot, head

    def _alive(self, head: bytes) -> bool:
        _, pid, namespace, beat_s = HEAD.unpack(head)
        # A beat from the future is of another boot.
        if pid == 0 or not -1.0 < time.monotonic() - beat_s < self.dead_after_s:
            return False
        return bool(namespace != self._namespace) or _exists(pid)

    def _put_head(self, pid: int) -> None:
        self._put(head_at(self._place[0]), HEAD.pack(self._token, pid, self._namespace, time.monotonic()))

    def _put(self, at: int, content: bytes) -> None:
        if os.pwrite(self._fd, content, at) != len(content):
            raise OSError(f"{str(self.path)!r} took only a part of what was written")

    def _write(self, at: int, value: float | NDArray[np.float64]) -> None:
        try:
            os.pwrite(self._fd, np.float64(value).tobytes(), at)
        except (OSError, ValueError) as error:
            self._fail(error)

    def _read(self, at: int, size: int) -> bytes:
        try:
            read = os.pread(self._fd, size, at)
        except (OSError, ValueError) as error:
            self._fail(error)
            read = b""
        return read if len(read) == size else bytes(size)

    def _read_row(self, at: int) -> NDArray[np.float64]:
        return np.frombuffer(self._read(at, ROW_BYTES), np.float64)

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            _LOG.warning("traffic is not shared with other processes for now: %s", error)


def _digest(llm: str) -> bytes:
    return hashlib.blake2b(llm.encode(), digest_size=DIGEST_BYTES).digest()


def _exists(pid: int) -> bool:
    if not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _pid_namespace() -> int:
    """Return which processes' ids mean the same as here; where the system does not say, all of the machine's."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
