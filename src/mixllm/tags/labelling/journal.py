"""The journal of a job: answered queries and spent dollars, on disk at once, so that a job can go on."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from mixllm.errors import InvalidValueError, StateError
from mixllm.tags.labelling.prompt import PROMPT_VERSION
from mixllm.types import Value
from mixllm.units import non_negative

__all__ = ["Journal", "JournalHeader", "job_header"]

_SCHEMA = 1


class JournalHeader(Value, frozen=True, kw_only=True):
    """Which job a journal belongs to.

    Parameters
    ----------
    mixllm_tag_journal
        Version of the format.
    queries
        Digest of the queries' ids and texts.
    model
        What the endpoint calls the LLM.
    prompt
        Version of the request's wording.
    """

    mixllm_tag_journal: int
    queries: str
    model: str
    prompt: str


class _Call(Value, frozen=True, kw_only=True):
    """One line: what a call cost, and the tags of the queries that it settled."""

    usd: float
    tags: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        non_negative("usd", self.usd)


_decode_header = msgspec.json.Decoder(JournalHeader).decode
_decode_call = msgspec.json.Decoder(_Call).decode


def job_header(*, query_ids: Sequence[str], queries: Sequence[str], model: str) -> JournalHeader:
    """Return the header of the job of tagging these queries with this model."""
    digest = hashlib.sha256()
    for text in (*query_ids, *queries):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return JournalHeader(
        mixllm_tag_journal=_SCHEMA, queries=digest.hexdigest()[:32], model=model, prompt=PROMPT_VERSION
    )


class Journal:
    """A file of JSON lines that only grows; it holds ids, tags and costs, and no query and no explanation.

    Every `append` is on disk when it returns. A last line that a crash cut off is dropped at the next opening. One
    process at a time has a journal open (on POSIX systems it is locked).

    Parameters
    ----------
    path
        The file; made where it is missing.
    header
        The job.

    Raises
    ------
    StateError
        Where the file belongs to another job, is damaged, in use, or cannot be written. It is left as it was.

    Examples
    --------
    >>> import tempfile
    >>> header = job_header(query_ids=["a", "b"], queries=["2 + 2?", "Hi"], model="m")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Journal(Path(folder) / "j", header=header) as journal:
    ...         journal.append({"a": ("arithmetic",)}, usd=0.25)
    ...     with Journal(Path(folder) / "j", header=header) as journal:
    ...         print(dict(journal.tags), journal.spent_usd)
    {'a': ('arithmetic',)} 0.25
    """

    def __init__(self, path: str | os.PathLike[str], *, header: JournalHeader) -> None:
        self.path = Path(path)
        self.header = header
        self.tags: dict[str, tuple[str, ...]] = {}
        self.spent_usd = 0.0
        try:
            self._file: BinaryIO = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise StateError(
                f"{self.path} cannot be opened ({error.strerror}). Check the path and its rights."
            ) from error
        try:
            _lock(self._file, self.path)
            self._restore()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def append(self, tags: Mapping[str, Sequence[str]], *, usd: float) -> None:
        """Keep the tags of some queries, by their ids, and what the call did cost.

        Raises
        ------
        StateError
            Where it cannot be written.
        """
        call = _Call(usd=usd, tags={query_id: tuple(names) for query_id, names in tags.items()})
        self._write(msgspec.json.encode(call))
        self._count(call)

    def close(self) -> None:
        """Close the file; what was appended is on disk already."""
        self._file.close()

    def _restore(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        first = msgspec.json.encode(self.header)
        if not whole:
            # Nothing, or a header that was cut off; anything else without a line's end is somebody else's file.
            if not first.startswith(content):
                raise self._foreign()
            self._file.truncate(0)
            self._write(first)
            return
        lines = whole.splitlines()
        self._check_header(lines[0])
        for number, line in enumerate(lines[1:], start=2):
            try:
                self._count(_decode_call(line))
            except (msgspec.DecodeError, UnicodeDecodeError, InvalidValueError, RecursionError) as error:
                raise StateError(
                    f"{self.path}, line {number}: damaged ({error}). Remove that line to ask for its queries again."
                ) from error
        if len(whole) < len(content):
            self._file.truncate(len(whole))

    def _check_header(self, line: bytes) -> None:
        try:
            found = _decode_header(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._foreign() from None
        if found == self.header:
            return
        if found.mixllm_tag_journal > _SCHEMA:
            raise StateError(f"{self.path} was written by a newer version. Upgrade mixllm.")
        if found.queries != self.header.queries:
            other = "of other queries"
        elif found.model != self.header.model:
            other = f"of the model {found.model!r}"
        else:
            other = "of another version of the request"
        raise StateError(f"{self.path} is the journal {other}. Choose another output, or remove the journal.")

    def _foreign(self) -> StateError:
        return StateError(f"{self.path} exists and is no journal of tags. Choose another output, or remove it.")

    def _count(self, call: _Call) -> None:
        self.tags |= call.tags
        self.spent_usd += call.usd

    def _write(self, line: bytes) -> None:
        data = line + b"\n"
        try:
            # Unbuffered files may write less than they are given.
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StateError(
                f"{self.path} cannot be written ({error.strerror}). Make room, then run it again: it goes on."
            ) from error


def _lock(file: BinaryIO, path: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StateError(f"{path} is in use by another process. Wait for it, or choose another output.") from error
