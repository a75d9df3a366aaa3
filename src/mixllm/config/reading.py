"""Reading a configuration: YAML with line numbers, variables over it, and errors that name the line and the key."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from mixllm.config.schema import Config, ModelEntry, Section
from mixllm.errors import ConfigError, InvalidValueError, MissingExtraError, did_you_mean
from mixllm.types import Secret

__all__ = ["ENV_PREFIX", "decode_model_entry", "load_config", "parse_config"]

_LOG = logging.getLogger(__name__)

ENV_PREFIX = "MIXLLM_"
"""``MIXLLM_ROUTING__LAMBDA=2`` sets ``routing.lambda``."""

RESERVED_VARIABLES = frozenset({"MIXLLM_CONFIG", "MIXLLM_API_KEY", "MIXLLM_URL"})
"""Variables of the command line that are no settings of the file."""

_LITELLM_SECTIONS = frozenset({"litellm_settings", "general_settings", "router_settings", "environment_variables"})
"""Sections of a LiteLLM file that concern LiteLLM alone: accepted, so that such a file works, and not used."""

_MAX_BYTES = 4 * 1024 * 1024
_MAX_DEPTH = 40
_PATH_IN_MESSAGE = re.compile(r"^(?P<problem>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)

Path_ = tuple[str | int, ...]
_SectionT = TypeVar("_SectionT", bound=Section)


@dataclass(frozen=True, slots=True)
class _Source:
    """What was read, and the line of each key."""

    name: str
    lines: Mapping[Path_, int]

    def where(self, path: Path_) -> str:
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return f"{self.name}, line {self.lines[path[:end]]}"
        return self.name


def load_config(path: str | Path, *, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration file `path`, with the ``MIXLLM_*`` variables of `environ` over it.

    Raises
    ------
    ConfigError
        Where the file cannot be read, is not YAML, or has an unknown key or a value out of range; names file, line
        and key.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}). Check the path, or make one from the README."
        ) from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    return parse_config(text, name=str(path), environ=environ)


def parse_config(text: str, *, name: str = "configuration", environ: Mapping[str, str] | None = None) -> Config:
    """Read a configuration from YAML text; see `load_config`.

    Examples
    --------
    >>> parse_config("routing: {lambda: 2}").routing.trade_off
    2.0
    >>> parse_config("routing: {lamda: 2}")
    Traceback (most recent call last):
    mixllm.errors.ConfigError: configuration, line 1: unknown key 'lamda' in routing. Did you mean 'lambda'?...
    """
    if len(text) > _MAX_BYTES:
        raise ConfigError(f"{name}: is larger than {_MAX_BYTES} bytes. This does not look like a configuration.")
    tree, lines = _read_yaml(text, name)
    source = _Source(name=name, lines=lines)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: must be a mapping of sections, such as 'model_list:'.")
    for section in sorted(_LITELLM_SECTIONS & set(tree)):
        _LOG.warning("%s: section %r concerns LiteLLM alone and is not used", name, section)
        del tree[section]
    _set_variables(tree, environ or {})
    _refuse_unknown(tree, Config, (), source)
    return _convert(tree, Config, source)


def decode_model_entry(tree: object) -> ModelEntry:
    """Read one entry of ``model_list`` from decoded JSON; raises `ConfigError`."""
    source = _Source(name="model entry", lines={})
    _refuse_unknown(tree, ModelEntry, (), source)
    return _convert(tree, ModelEntry, source)


def _convert(tree: object, kind: type[_SectionT], source: _Source) -> _SectionT:
    try:
        return msgspec.convert(tree, kind, strict=True, dec_hook=_decode_secret)
    except msgspec.ValidationError as error:
        match = _PATH_IN_MESSAGE.match(str(error))
        assert match is not None
        path = _parse_path(match["path"] or "")
        key = f"{_dotted(path)}: " if path else ""
        cause = error.__cause__
        problem = str(cause) if isinstance(cause, InvalidValueError) else match["problem"]
        raise ConfigError(f"{source.where(path)}: {key}{problem}") from error


def _decode_secret(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError


def _read_yaml(text: str, name: str) -> tuple[Any, dict[Path_, int]]:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("Reading a configuration file", "cli") from error
    loader = yaml.SafeLoader(text)
    lines: dict[Path_, int] = {}
    try:
        node = loader.get_single_node()
        tree = None if node is None else _construct(node, loader, (), lines, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        raise ConfigError(f"{where}: is not valid YAML ({error.problem or error.context}).") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: is not valid YAML ({str(error).splitlines()[0]}).") from error
    finally:
        loader.dispose()
    return tree, lines


def _construct(node: Any, loader: Any, path: Path_, lines: dict[Path_, int], name: str) -> Any:
    import yaml

    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if len(path) > _MAX_DEPTH:
        raise ConfigError(f"{name}, line {line}: is nested more than {_MAX_DEPTH} deep.")
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, loader, (*path, place), lines, name) for place, child in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    loader.flatten_mapping(node)
    tree: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node) if isinstance(key_node, yaml.ScalarNode) else None
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ConfigError(f"{name}, line {line}: keys must be words, not {key!r}. Quote it if it is meant.")
        if key in tree:
            raise ConfigError(f"{name}, line {line}: key {key!r} is given twice. Keep one.")
        lines[(*path, key)] = line
        tree[key] = _construct(value_node, loader, (*path, key), lines, name)
    return tree


def _set_variables(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX) or variable in RESERVED_VARIABLES:
            continue
        path = [part.lower() for part in variable.removeprefix(ENV_PREFIX).split("__")]
        at: dict[str, Any] = tree
        kind: Any = Config
        for place, part in enumerate(path):
            fields = _fields(kind)
            if part not in fields or (place + 1 < len(path) and not _is_section(fields[part])):
                known = [f"{ENV_PREFIX}{'__'.join((*path[:place], field)).upper()}" for field in fields]
                raise ConfigError(f"Variable {variable} sets nothing.{did_you_mean(variable, known)}")
            kind = fields[part]
            if place + 1 < len(path):
                at = at.setdefault(part, {})
                if not isinstance(at, dict):
                    raise ConfigError(f"Variable {variable}: the file has no section there to set it in.")
        value, _ = _read_yaml(environ[variable], f"variable {variable}")
        at[path[-1]] = value


def _refuse_unknown(tree: Any, kind: Any, path: Path_, source: _Source) -> None:
    if isinstance(tree, list):
        for place, child in enumerate(tree):
            _refuse_unknown(child, kind, (*path, place), source)
        return
    if not isinstance(tree, dict) or not _is_section(kind):
        return
    fields = _fields(kind)
    for key, child in tree.items():
        if key not in fields:
            section = f" in {_dotted(path)}" if path else ""
            raise ConfigError(
                f"{source.where((*path, key))}: unknown key {key!r}{section}.{did_you_mean(str(key), fields)} "
                f"Valid keys: {', '.join(sorted(fields))}."
            )
        _refuse_unknown(child, fields[key], (*path, key), source)


def _fields(kind: Any) -> dict[str, Any]:
    """Return what a section's keys are, each with the section that it holds (or the plain type)."""
    hints = get_type_hints(kind)
    return {field.encode_name: _inner(hints[field.name]) for field in msgspec.structs.fields(kind)}


def _inner(hint: Any) -> Any:
    sections = [argument for argument in get_args(hint) if _is_section(argument)]
    return sections[0] if sections else hint


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _parse_path(path: str) -> Path_:
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path)
    return tuple(name or int(place) for name, place in parts)


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)
