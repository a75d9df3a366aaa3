"""LLMs in a file: one entry of ``model_list``, a list of entries, or a whole configuration with a ``model_list``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixllm.cli.options import read_file
from mixllm.config import ModelEntry, decode_model_entry, parse_config
from mixllm.errors import ConfigError, MissingExtraError

__all__ = ["read_entries"]


def read_entries(path: Path) -> list[object]:
    """Return the entries of the file `path`, as they are written, each checked.

    Raises
    ------
    ConfigError
        Where the file cannot be read, an entry is none, or one holds a key instead of the name of its variable.
    """
    text = read_file(path)
    tree = _parsed(text, str(path))
    if isinstance(tree, dict) and "model_list" in tree:
        entries = parse_config(text, name=str(path)).model_list
        trees = tree["model_list"]
    else:
        trees = tree if isinstance(tree, list) else [tree]
        entries = tuple(_decoded(entry, str(path)) for entry in trees)
    if not entries:
        raise ConfigError(f"{path}: holds no LLM. Write entries as in the configuration's model_list.")
    for entry in entries:
        _check(entry, str(path))
    return list(trees)


def _parsed(text: str, name: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("Reading a file of LLMs", "cli") from error
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        raise ConfigError(f"{where}: is not valid YAML ({error.problem or error.context}).") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: is not valid YAML ({str(error).splitlines()[0]}).") from error


def _decoded(tree: object, name: str) -> ModelEntry:
    try:
        return decode_model_entry(tree)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _check(entry: ModelEntry, name: str) -> None:
    try:
        entry.spec()
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    if entry.secret() is not None:
        raise ConfigError(
            f"{name}: LLM {entry.model_name!r} holds a key, and the gateway's pool is stored. Put the key into the "
            "gateway's environment and write api_key: os.environ/NAME."
        )
