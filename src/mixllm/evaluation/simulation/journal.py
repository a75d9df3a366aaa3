"""What a simulation has done so far, a line per seed and policy, so that it can go on where it was stopped."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from mixllm.errors import ConfigError
from mixllm.evaluation.journal import dataset_key
from mixllm.evaluation.simulation.playing import Run
from mixllm.evaluation.simulation.stream import StreamSettings
from mixllm.evaluation.splits import Dataset

__all__ = ["JOURNAL_FILE", "Entry", "RunJournal", "run_key"]

JOURNAL_FILE = "simulation.jsonl"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One run, and what it was a run of.

    Parameters
    ----------
    key
        Of the data and the settings (see `run_key`).
    seed, policy
        Which one.
    run
        What came of it.
    """

    key: str
    seed: int
    policy: str
    run: Run


class RunJournal:
    """A file of entries that only grows; without a folder, entries are kept in memory alone.

    Parameters
    ----------
    folder
        Where the file is or will be.
    fresh
        Forget what an earlier simulation left.

    Raises
    ------
    ConfigError
        Where the folder cannot be written.
    """

    def __init__(self, *, folder: Path | None, fresh: bool = False) -> None:
        self._runs: dict[tuple[str, int, str], Run] = {}
        self._file: IO[bytes] | None = None
        if folder is None:
            return
        path = folder / JOURNAL_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists() and not fresh:
                self._read(path)
            self._file = path.open("wb" if fresh else "ab")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be used ({error.strerror}). Give another folder with --out.") from error
        if self._file.tell() > 0:
            self._file.write(b"\n")  # ends a line that a crash may have torn

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def find(self, key: str, seed: int, policy: str) -> Run | None:
        """Return the run, or None where it is still to be made."""
        return self._runs.get((key, seed, policy))

    def add(self, entry: Entry) -> None:
        """Keep a run; it is in the file when this returns."""
        self._runs[entry.key, entry.seed, entry.policy] = entry.run
        if self._file is not None:
            self._file.write(msgspec.json.encode(entry) + b"\n")
            self._file.flush()

    def _read(self, path: Path) -> None:
        decoder = msgspec.json.Decoder(Entry)
        for line in path.read_bytes().splitlines():
            try:
                entry = decoder.decode(line)
            except msgspec.DecodeError:
                continue  # torn by a crash, or of another version: that run is made again
            self._runs[entry.key, entry.seed, entry.policy] = entry.run


def run_key(dataset: Dataset, settings: StreamSettings, *, features: str) -> str:
    """Return a key of all that a run depends on, seed and policy aside.

    A change of the policies' code is seen only where MixLLM's version changes with it.

    Parameters
    ----------
    dataset, settings
        The data and how they become a stream.
    features
        Fingerprint of the features.
    """
    digest = hashlib.blake2b(digest_size=12)
    log = dataset.log
    digest.update(msgspec.json.encode((dataset_key(dataset, seed=0), features, settings)))
    for array in (log.tokens_in, log.tokens_out, log.latency_s, log.ttft_s):
        digest.update(array.tobytes())
    return f"{log.name}/{digest.hexdigest()}"
