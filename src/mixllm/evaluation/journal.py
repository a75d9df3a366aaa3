"""What a long job has done so far, a line per part, so that it can go on; and the parts of a benchmark."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from pathlib import Path
from types import TracebackType
from typing import IO, Generic, Protocol, Self, TypeVar

import msgspec

from mixllm import __version__
from mixllm.errors import ConfigError
from mixllm.evaluation.splits import Dataset
from mixllm.evaluation.trial import Trial

__all__ = ["JOURNAL_FILE", "Entry", "Journal", "dataset_key"]

JOURNAL_FILE = "journal.jsonl"


class _Identified(Protocol):
    @property
    def identity(self) -> Hashable: ...


_EntryT = TypeVar("_EntryT", bound=_Identified)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One trial, and what it was a trial of.

    Parameters
    ----------
    dataset
        Key of the data and the settings (see `dataset_key`).
    split, router
        Names.
    trial
        What came of it.
    """

    dataset: str
    split: str
    router: str
    trial: Trial

    @property
    def identity(self) -> tuple[str, str, str]:
        """Key, split and router."""
        return self.dataset, self.split, self.router


class Journal(Generic[_EntryT]):
    """A file of entries that only grows; without a folder, entries are kept in memory alone.

    Parameters
    ----------
    folder
        Where the file is or will be; it is made where it is not there.
    file
        Its name.
    kind
        What an entry is.
    fresh
        Forget what an earlier run left.

    Raises
    ------
    ConfigError
        Where the folder cannot be written.
    """

    def __init__(self, *, folder: Path | None, file: str, kind: type[_EntryT], fresh: bool = False) -> None:
        self._entries: dict[Hashable, _EntryT] = {}
        self._file: IO[bytes] | None = None
        if folder is None:
            return
        path = folder / file
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists() and not fresh:
                self._read(path, kind)
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

    def find(self, *identity: Hashable) -> _EntryT | None:
        """Return the entry of this identity, or None where it is still to be made."""
        return self._entries.get(identity)

    def add(self, entry: _EntryT) -> None:
        """Keep an entry; it is in the file when this returns."""
        self._entries[entry.identity] = entry
        if self._file is not None:
            self._file.write(msgspec.json.encode(entry) + b"\n")
            self._file.flush()

    def _read(self, path: Path, kind: type[_EntryT]) -> None:
        decoder = msgspec.json.Decoder(kind)
        for line in path.read_bytes().splitlines():
            try:
                entry = decoder.decode(line)
            except msgspec.DecodeError:
                continue  # torn by a crash, or of another version: that one is made again
            self._entries[entry.identity] = entry


def dataset_key(dataset: Dataset, *, seed: int) -> str:
    """Return a key of all that the trials of a dataset depend on, the split and the router aside.

    A change of the routers' code is seen only where MixLLM's version changes with it.
    """
    log = dataset.log
    digest = hashlib.blake2b(digest_size=12)
    for words in (
        (__version__, str(seed), dataset.encoder.fingerprint, dataset.reference, dataset.label or ""),
        log.query_ids,
        log.llms,
        dataset.texts,
        log.labels.get(dataset.label, ()) if dataset.label else (),
    ):
        digest.update(msgspec.json.encode(words))
    for array in (log.quality, log.cost_usd, dataset.tokens_in):
        digest.update(array.tobytes())
    return f"{log.name}/{digest.hexdigest()}"
