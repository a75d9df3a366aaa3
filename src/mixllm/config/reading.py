"""Reading a configuration: YAML with line numbers, variables over it, and errors that name the line and the key."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from mixllm.config.pool import ModelEntry
from mixllm.config.schema import Config
from mixllm.config.section import Section
from mixllm.config.yaml_tree import KeyPath, read_yaml
from mixllm.errors import ConfigError, InvalidValueError, did_you_mean
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
_PATH_IN_MESSAGE = re.compile(r"^(?P<problem>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)

_SectionT = TypeVar("_SectionT", bound=Section)


@dataclass(frozen=True, slots=True)
class _Source:
    """What was read, and the line of each key, or the variable that set it."""

    name: str
    lines: Mapping[KeyPath, int]
    variables: dict[KeyPath, str] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        for end in range(len(path), -1, -1):
            if path[:end] in self.variables:
                return f"variable {self.variables[path[:end]]}"
            if path[:end] in self.lines:
                return f"{self.name}, line {self.lines[path[:end]]}"
        return self.name

    def knows(self, path: KeyPath) -> bool:
        return path in self.lines or path in self.variables


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
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no possible path"
        raise ConfigError(f"{path}: cannot be read ({reason}). Check the path, or make one from the README.") from error
    if len(data) > _MAX_BYTES:
        raise _too_large(str(path))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
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
        raise _too_large(name)
    tree, lines = read_yaml(text, name)
    source = _Source(name=name, lines=lines)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: must be a mapping of sections, such as 'model_list:'.")
    for section in sorted(_LITELLM_SECTIONS & set(tree)):
        _LOG.warning("%s: section %r concerns LiteLLM alone and is not used", name, section)
        del tree[section]
    for key in [key for key, value in tree.items() if value is None and key in _fields(Config)]:
        del tree[key]  # A section whose lines are all commented out.
    _set_variables(tree, environ or {}, source)
    _refuse_unknown(tree, Config, (), source)
    config = _convert(tree, Config, source)
    for place, entry in enumerate(config.model_list):
        try:
            entry.spec()
        except ConfigError as error:
            raise ConfigError(f"{source.where(('model_list', place))}: {error}") from error.__cause__
    _check_judge(config, source)
    return config


def decode_model_entry(tree: object) -> ModelEntry:
    """Read one entry of ``model_list`` from decoded JSON; raises `ConfigError`."""
    source = _Source(name="model entry", lines={})
    try:
        _refuse_unknown(tree, ModelEntry, (), source)
        return _convert(tree, ModelEntry, source)
    except RecursionError:
        raise ConfigError("model entry: is nested too deeply. Flatten it.") from None


def _check_judge(config: Config, source: _Source) -> None:
    if config.judge is None:
        return
    try:
        config.judge.spec()
    except (ConfigError, InvalidValueError) as error:
        # It is built as an entry of model_list is; what that says of its keys holds for those of this section.
        problem = str(error).removeprefix("model_list entry 'judge': ").replace("litellm_params.", "judge.")
        problem = problem.replace("put the key into api_key", "put the key into api_key_env")
        raise ConfigError(f"{source.where(('judge',))}: judge: {problem}") from error.__cause__


def _convert(tree: object, kind: type[_SectionT], source: _Source) -> _SectionT:
    try:
        return msgspec.convert(tree, kind, strict=True, dec_hook=_decode_secret)
    except msgspec.ValidationError as error:
        match = _PATH_IN_MESSAGE.match(str(error))
        assert match is not None
        path = _parse_path(match["path"] or "")
        key = f"{_dotted(path)}: " if path else ""
        cause = error.__cause__
        problem = match["problem"]
        if isinstance(cause, InvalidValueError):
            problem = str(cause)
            path = (*path, cause.parameter) if source.knows((*path, cause.parameter)) else path
        raise ConfigError(f"{source.where(path)}: {key}{problem}") from error


def _decode_secret(kind: type, value: object) -> object:
    if kind is not Secret:
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        # Without the value, of course.
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`. Quote it")
    return Secret(value)


def _set_variables(tree: dict[str, Any], environ: Mapping[str, str], source: _Source) -> None:
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
        value, _ = read_yaml(environ[variable], f"variable {variable}")
        at[path[-1]] = value
        source.variables[tuple(path)] = variable


def _refuse_unknown(tree: Any, kind: Any, path: KeyPath, source: _Source) -> None:
    if not _is_section(kind):
        return
    if isinstance(tree, list):
        for place, child in enumerate(tree):
            _refuse_unknown(child, kind, (*path, place), source)
        return
    if not isinstance(tree, dict):
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


def _parse_path(path: str) -> KeyPath:
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path)
    return tuple(name or int(place) for name, place in parts)


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)


def _too_large(name: str) -> ConfigError:
    return ConfigError(f"{name}: is larger than {_MAX_BYTES} bytes. Check the path: this is no configuration.")
