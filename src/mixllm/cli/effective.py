"""The configuration in effect: every value, where it comes from, and no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mixllm.cli.masking import masked_url, printable
from mixllm.config import Config
from mixllm.errors import MissingExtraError
from mixllm.types import Secret

__all__ = ["Path_", "effective_tree", "sources", "yaml_lines"]

Path_ = tuple[str | int, ...]
"""Where a value is: keys, and places in lists."""

_ENV_PREFIX = "MIXLLM_"
_ENV_REFERENCE = "os.environ/"
_MASK = "***"
_DEFAULT = "default"
_NO_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
"""What YAML takes for something else than a word."""


def effective_tree(config: Config) -> dict[str, Any]:
    """Return the configuration as plain values under the file's own names; keys are masked, their variables not."""
    tree: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config, enc_hook=_masked))
    for entry in tree["model_list"]:
        params = entry["litellm_params"]
        if params["api_base"] is not None:
            params["api_base"] = masked_url(params["api_base"])
    return tree


def sources(tree: Mapping[str, Any], *, text: str, name: str, environ: Mapping[str, str]) -> dict[Path_, str]:
    """Return where each value of `tree` comes from: ``file:line``, ``$VARIABLE`` or ``default``.

    Parameters
    ----------
    tree
        What `effective_tree` returned.
    text, name
        The file that it was read from, which is valid.
    environ
        The variables that were over it.
    """
    lines = _lines(text)
    found = {}
    for path, _ in _leaves(tree, ()):
        variable = next((name for name in _variables(path) if name in environ), None)
        if variable is not None:
            found[path] = f"${variable}"
        else:
            found[path] = f"{name}:{lines[path]}" if path in lines else _DEFAULT
    return found


def yaml_lines(tree: Mapping[str, Any], origins: Mapping[Path_, str]) -> Iterator[str]:
    """Yield `tree` as YAML, each value with its origin as a comment; values that are not set are left out."""
    yield from _written(tree, (), origins, indent=0)


def _written(node: Any, path: Path_, origins: Mapping[Path_, str], *, indent: int) -> Iterator[str]:
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, child in pairs:
        if child is None:
            continue
        lead = " " * indent + ("-" if isinstance(key, int) else f"{_scalar(key)}:")
        if not (isinstance(child, Mapping | list) and child):
            yield f"{lead} {_scalar(child)}  # {printable(origins[(*path, key)])}"
            continue
        below = _written(child, (*path, key), origins, indent=indent + 2)
        if isinstance(key, int):
            yield f"{lead} {next(below, '{}').lstrip()}"
        else:
            yield lead
        yield from below


def _scalar(value: object) -> str:
    """Return a key or a value as YAML: JSON is YAML, but for numbers such as 1e-06, which YAML 1.1 takes for words."""
    if isinstance(value, str) and value.isidentifier() and value.lower() not in _NO_WORDS:
        return value
    text = json.dumps(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text


def _leaves(node: Any, path: Path_) -> Iterator[tuple[Path_, Any]]:
    if isinstance(node, Mapping) and node:
        for key, child in node.items():
            yield from _leaves(child, (*path, key))
    elif isinstance(node, list) and node:
        for place, child in enumerate(node):
            yield from _leaves(child, (*path, place))
    else:
        yield path, node


def _variables(path: Path_) -> Iterator[str]:
    """Yield the variables that can set the value at `path`, or something that holds it."""
    words: list[str] = []
    for part in path:
        if isinstance(part, int):
            return
        words.append(part.upper())
        yield _ENV_PREFIX + "__".join(words)


def _lines(text: str) -> dict[Path_, int]:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("Reading a configuration file", "cli") from error

    loader = yaml.SafeLoader(text)

    def walk(node: yaml.Node, path: Path_, line: int) -> Iterator[tuple[Path_, int]]:
        yield path, line
        if isinstance(node, yaml.SequenceNode):
            for place, child in enumerate(node.value):
                yield from walk(child, (*path, place), child.start_mark.line + 1)
        elif isinstance(node, yaml.MappingNode):
            loader.flatten_mapping(node)
            for key, child in node.value:
                yield from walk(child, (*path, key.value), key.start_mark.line + 1)

    try:
        root = loader.get_single_node()
        return {} if root is None else dict(walk(root, (), 1))
    finally:
        loader.dispose()


def _masked(value: object) -> object:
    if isinstance(value, Secret):
        text = value.reveal()
        return text if text.startswith(_ENV_REFERENCE) else _MASK
    raise NotImplementedError
