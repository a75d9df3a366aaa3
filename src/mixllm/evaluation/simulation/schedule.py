"""What happens to the pool while a stream runs: LLMs come, go, change price and get worse."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from mixllm.config.yaml_tree import KeyPath, read_yaml
from mixllm.errors import ConfigError, InvalidValueError, did_you_mean
from mixllm.units import fraction, non_negative

__all__ = ["Change", "Schedule", "parse_schedule", "read_schedule"]

_MAX_BYTES = 1024 * 1024
_PATH = re.compile(r"^(?P<problem>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change, in effect for the query `at` and all after it.

    Parameters
    ----------
    at
        Number of the query, from 0.
    change
        ``add`` or ``remove`` the LLM, multiply its recorded ``price``, or its recorded ``quality``.
    llm
        Its name.
    factor
        For ``price`` >= 0, for ``quality`` in [0, 1]; 1 restores what is recorded. None for the others.
    """

    at: int
    change: Literal["add", "remove", "price", "quality"]
    llm: str
    factor: float | None = None

    def __post_init__(self) -> None:
        if self.at < 0:
            raise InvalidValueError("at", self.at, ">= 0")
        if self.change in ("add", "remove"):
            if self.factor is not None:
                raise InvalidValueError("factor", self.factor, f"left out where the change is {self.change!r}")
        elif self.factor is None:
            raise InvalidValueError("factor", self.factor, f"given where the change is {self.change!r}")
        elif self.change == "price":
            non_negative("factor", self.factor)
        else:
            fraction("factor", self.factor)


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of the pool, in the order in which they are made; those of one query in the order of the file.

    An LLM whose first change is ``add`` is not in the pool before it; every other LLM of the log is, from the start.

    Parameters
    ----------
    changes
        The changes.

    Examples
    --------
    >>> Schedule(changes=(Change(at=500, change="add", llm="new"),)).at_start(["old", "new"])
    ('old',)
    """

    changes: tuple[Change, ...] = ()

    def at_start(self, llms: Sequence[str]) -> tuple[str, ...]:
        """Return the LLMs that are in the pool before any change."""
        first: dict[str, str] = {}
        for change in self.in_order():
            if change.change in ("add", "remove"):
                first.setdefault(change.llm, change.change)
        return tuple(llm for llm in llms if first.get(llm) != "add")

    def in_order(self) -> list[Change]:
        """Return the changes by the query at which they are made."""
        return sorted(self.changes, key=lambda change: change.at)

    def check(self, *, llms: Sequence[str], queries: int) -> None:
        """Refuse what cannot happen on a stream of `queries` queries with these LLMs.

        Raises
        ------
        ConfigError
            Where an LLM is not known, is added while it is there or removed while it is not, the pool is left empty, or
            a change comes after the last query.
        """
        pool = set(self.at_start(llms))
        _refuse_empty(pool, 0)
        for place, change in enumerate(self.in_order()):
            where = f"schedule: change {change.change!r} of {change.llm!r} at query {change.at}"
            if change.llm not in llms:
                known = ", ".join(llms)
                raise ConfigError(f"{where}: the log has no such LLM.{did_you_mean(change.llm, llms)} It has: {known}.")
            if change.at >= queries:
                raise ConfigError(f"{where}: the stream has only {queries} queries. Move it, or leave it out.")
            if change.change in ("add", "remove"):
                if (change.llm in pool) == (change.change == "add"):
                    state = "already" if change.llm in pool else "not"
                    raise ConfigError(f"{where}: it is {state} in the pool then. Correct the order.")
                pool ^= {change.llm}
            later = self.in_order()[place + 1 : place + 2]
            if not later or later[0].at > change.at:
                _refuse_empty(pool, change.at)


def read_schedule(path: Path) -> Schedule:
    """Read a schedule file; raises `ConfigError` with the file and the line.

    Raises
    ------
    MissingExtraError
        Where PyYAML is not installed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {_MAX_BYTES} bytes. Check the path: this is no schedule.")
    return parse_schedule(text, name=str(path))


def parse_schedule(text: str, *, name: str = "schedule") -> Schedule:
    """Read a schedule from YAML text; see `read_schedule`.

    Examples
    --------
    >>> parse_schedule("changes: [{at: 10, change: price, llm: small, factor: 0.5}]").changes[0].factor
    0.5
    """
    tree, lines = read_yaml(text, name)
    try:
        return msgspec.convert({} if tree is None else tree, Schedule)
    except msgspec.ValidationError as error:
        match = _PATH.match(str(error))
        assert match is not None
        line = _line(lines, _key_path(match["path"] or ""))
        raise ConfigError(f"{name}, line {line}: {match['problem'].rstrip('.')}. Correct it.") from error


def _key_path(path: str) -> KeyPath:
    return tuple(word or int(place) for word, place in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path))


def _line(lines: dict[KeyPath, int], path: KeyPath) -> int:
    return next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), 1)


def _refuse_empty(pool: set[str], at: int) -> None:
    if not pool:
        raise ConfigError(f"schedule: no LLM is left in the pool at query {at}. Keep one.")
