"""Everything that is wrong with a configuration, each fault with its file, line, key and the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from mixllm.config.section import Section
from mixllm.config.yaml_tree import KeyPath
from mixllm.errors import ConfigError, InvalidValueError, did_you_mean
from mixllm.types import Secret

__all__ = ["Problems", "Source", "fields_of", "is_section"]

_PATH_IN_MESSAGE = re.compile(r"^(?P<problem>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_BAD_ENUM = re.compile(r"Invalid enum value '(?P<value>.*)'", re.DOTALL)
_MAX_SHOWN = 50

_SectionT = TypeVar("_SectionT", bound=Section)


class _Dropped:
    """Stands for a part that is left out, because what is wrong with it is told already."""


_DROPPED: Final = _Dropped()


@dataclass(frozen=True, slots=True)
class Source:
    """What was read, and the line of each key, or the variable that set it."""

    name: str
    lines: Mapping[KeyPath, int]
    variables: dict[KeyPath, str] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """Return the file and line, or the variable, that says what is at `path`."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.variables:
                return f"variable {self.variables[path[:end]]}"
            if path[:end] in self.lines:
                return f"{self.name}, line {self.lines[path[:end]]}"
        return self.name

    def knows(self, path: KeyPath) -> bool:
        """Return whether something is at `path`."""
        return path in self.lines or path in self.variables


class Problems:
    """Reads sections and keeps what is wrong with them, instead of stopping at the first fault.

    A section is read from within: faulty parts are told and left out, so that the rest can be looked at as well.

    Parameters
    ----------
    source
        Where the tree comes from.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[str] = []

    def read(self, tree: object, kind: type[_SectionT]) -> _SectionT | None:
        """Return `tree` as a `kind`; None where that cannot be, for reasons that are now known."""
        cleaned = self._cleaned(tree, kind, ())
        if isinstance(cleaned, _Dropped):
            return None
        section = self._section(cleaned, kind, ())
        return section if isinstance(section, kind) else None

    def add(self, path: KeyPath, problem: str) -> None:
        """Keep a fault at `path`."""
        self.found.append(f"{self.source.where(path)}: {problem}")

    def refuse(self) -> None:
        """Raise `ConfigError` where anything was found; its message has a line for each fault."""
        if self.found:
            rest = len(self.found) - _MAX_SHOWN
            lines = [*self.found[:_MAX_SHOWN], *([f"… and {rest} more. Correct these first."] if rest > 0 else [])]
            raise ConfigError("\n".join(lines))

    # ---- inside ---------------------------------------------------------------------------------------------------

    def _cleaned(self, tree: Any, kind: Any, path: KeyPath) -> Any:
        """Return `tree` without what is wrong inside its sections."""
        if not is_section(kind):
            return tree
        if isinstance(tree, list):
            return self._cleaned_list(tree, kind, path)
        if not isinstance(tree, dict):
            return tree
        fields, lists, kept = fields_of(kind), _lists_of(kind), {}
        for key, child in tree.items():
            if key not in fields:
                self.add((*path, key), _unknown(key, path, fields))
                continue
            if isinstance(child, list if key not in lists else dict):
                kept[key] = child  # Of the wrong kind altogether: the section around it tells.
                continue
            cleaned = self._cleaned(child, fields[key], (*path, key))
            if is_section(fields[key]) and isinstance(cleaned, dict):
                cleaned = self._checked(cleaned, fields[key], (*path, key))
            if not isinstance(cleaned, _Dropped):
                kept[key] = cleaned
            elif key in _required(kind):
                return _DROPPED
        return kept

    def _cleaned_list(self, tree: list[Any], kind: Any, path: KeyPath) -> list[Any]:
        kept = []
        for place, child in enumerate(tree):
            if not isinstance(child, dict):
                at = (*path, place)
                self.add(at, f"{_dotted(at)}: Expected `object`, got `{type(child).__name__}`.")
                continue
            cleaned = self._cleaned(child, kind, (*path, place))
            if isinstance(cleaned, dict):
                cleaned = self._checked(cleaned, kind, (*path, place))
            if not isinstance(cleaned, _Dropped):
                kept.append(cleaned)
        return kept

    def _checked(self, tree: dict[str, Any], kind: Any, path: KeyPath) -> Any:
        """Return `tree` where it is a `kind`, with the faulty keys left out; or that it has to be dropped."""
        return _DROPPED if self._section(tree, kind, path) is _DROPPED else tree

    def _section(self, tree: Any, kind: type[_SectionT], path: KeyPath) -> _SectionT | _Dropped:
        left_out = False
        while True:
            try:
                return msgspec.convert(tree, kind, strict=True, dec_hook=_decode_secret)
            except msgspec.ValidationError as error:
                at, problem = self._fault(error, kind, path)
                if left_out and "missing required field" in problem:
                    return _DROPPED  # The one that was left out: what is wrong with it is told.
                self.add(at, problem)
                faulty = at[len(path)] if len(at) > len(path) else None
                if not isinstance(tree, dict) or faulty not in tree:
                    return _DROPPED
                # Out of the tree itself, so that it is not told again by the section around this one.
                del tree[faulty]
                left_out = True

    def _fault(self, error: msgspec.ValidationError, kind: Any, path: KeyPath) -> tuple[KeyPath, str]:
        match = _PATH_IN_MESSAGE.match(str(error))
        assert match is not None
        inner = _parse_path(match["path"] or "")
        at, problem = (*path, *inner), match["problem"]
        key = f"{_dotted(at)}: " if at else ""
        cause = error.__cause__
        if isinstance(cause, InvalidValueError):
            problem = str(cause)
            at = (*at, cause.parameter) if self.source.knows((*at, cause.parameter)) else at
        return at, f"{key}{problem}{_nearest_value(problem, kind, inner)}"


def fields_of(kind: Any) -> dict[str, Any]:
    """Return what a section's keys are, each with the section that it holds (or the plain type)."""
    hints = get_type_hints(kind)
    return {field.encode_name: _inner(hints[field.name]) for field in msgspec.structs.fields(kind)}


def _lists_of(kind: Any) -> set[str]:
    hints = get_type_hints(kind)
    return {field.encode_name for field in msgspec.structs.fields(kind) if get_origin(hints[field.name]) is tuple}


def is_section(kind: Any) -> bool:
    """Return whether `kind` is a section."""
    return isinstance(kind, type) and issubclass(kind, Section)


def _inner(hint: Any) -> Any:
    sections = [argument for argument in get_args(hint) if is_section(argument)]
    return sections[0] if sections else hint


def _required(kind: Any) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind) if field.required}


def _unknown(key: object, path: KeyPath, fields: Mapping[str, Any]) -> str:
    section = f" in {_dotted(path)}" if path else ""
    near = did_you_mean(str(key), fields)
    return f"unknown key {key!r}{section}.{near} Valid keys: {', '.join(sorted(fields))}."


def _nearest_value(problem: str, kind: Any, path: KeyPath) -> str:
    match = _BAD_ENUM.search(problem)
    if match is None:
        return ""
    for part in path:
        if isinstance(part, str) and is_section(kind):
            kind = fields_of(kind).get(part)
    valid = [str(value) for value in _values(kind)]
    return f".{did_you_mean(match['value'], valid)} Valid values: {', '.join(valid)}." if valid else ""


def _values(kind: Any) -> list[Any]:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if isinstance(kind, type) and hasattr(kind, "__members__"):
        return [member.value for member in kind.__members__.values()]
    return [value for argument in get_args(kind) for value in _values(argument)]


def _decode_secret(kind: type, value: object) -> object:
    if kind is not Secret:
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        # Without the value, of course.
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`. Quote it")
    return Secret(value)


def _parse_path(path: str) -> KeyPath:
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path)
    return tuple(name or int(place) for name, place in parts)


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)
