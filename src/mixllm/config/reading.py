"""Reading a configuration: YAML with line numbers, variables over it, and errors that name the line and the key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixllm.config.litellm_file import adapt_entries, adapt_sections
from mixllm.config.pool import ModelEntry
from mixllm.config.problems import Problems, Source, fields_of, is_section
from mixllm.config.schema import Config
from mixllm.config.yaml_tree import read_yaml
from mixllm.errors import ConfigError, InvalidValueError, did_you_mean

__all__ = ["ENV_PREFIX", "decode_model_entry", "load_config", "parse_config"]

ENV_PREFIX = "MIXLLM_"
"""``MIXLLM_ROUTING__LAMBDA=2`` sets ``routing.lambda``."""

RESERVED_VARIABLES = frozenset({"MIXLLM_CONFIG", "MIXLLM_API_KEY", "MIXLLM_URL"})
"""Variables of the command line that are no settings of the file."""

_MAX_BYTES = 4 * 1024 * 1024


def load_config(path: str | Path, *, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration file `path`, with the ``MIXLLM_*`` variables of `environ` over it.

    Raises
    ------
    ConfigError
        Where the file cannot be read, is not YAML, or has unknown keys or values out of range; names file, line and
        key of each of them.
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
    source = Source(name=name, lines=lines)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: must be a mapping of sections, such as 'model_list:'.")
    variables = adapt_sections(tree, name)
    for key in [key for key, value in tree.items() if value is None and key in fields_of(Config)]:
        del tree[key]  # A section whose lines are all commented out.
    _set_variables(tree, environ or {}, source)
    problems = Problems(source)
    adapt_entries(tree, problems, variables=variables, environ=environ or {})
    config = problems.read(tree, Config)
    if config is not None:
        _check_entries(config, problems)
        _check_judge(config, problems)
    problems.refuse()
    assert config is not None
    return config


def decode_model_entry(tree: object) -> ModelEntry:
    """Read one entry of ``model_list`` from decoded JSON; raises `ConfigError`."""
    source = Source(name="model entry", lines={})
    problems = Problems(source)
    try:
        entry = problems.read(tree, ModelEntry)
    except RecursionError:
        raise ConfigError("model entry: is nested too deeply. Flatten it.") from None
    problems.refuse()
    assert entry is not None
    return entry


def _check_entries(config: Config, problems: Problems) -> None:
    for place, entry in enumerate(config.model_list):
        try:
            entry.spec()
        except ConfigError as error:
            problems.add(("model_list", place), str(error))


def _check_judge(config: Config, problems: Problems) -> None:
    if config.judge is None:
        return
    try:
        config.judge.spec()
    except (ConfigError, InvalidValueError) as error:
        # It is built as an entry of model_list is; what that says of its keys holds for those of this section.
        problem = str(error).removeprefix("model_list entry 'judge': ").replace("litellm_params.", "judge.")
        problem = problem.replace("put the key into api_key", "put the key into api_key_env")
        problems.add(("judge",), f"judge: {problem}")


def _set_variables(tree: dict[str, Any], environ: Mapping[str, str], source: Source) -> None:
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX) or variable in RESERVED_VARIABLES:
            continue
        path = [part.lower() for part in variable.removeprefix(ENV_PREFIX).split("__")]
        at: dict[str, Any] = tree
        kind: Any = Config
        for place, part in enumerate(path):
            fields = fields_of(kind)
            if part not in fields or (place + 1 < len(path) and not is_section(fields[part])):
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


def _too_large(name: str) -> ConfigError:
    return ConfigError(f"{name}: is larger than {_MAX_BYTES} bytes. Check the path: this is no configuration.")
