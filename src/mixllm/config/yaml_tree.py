"""YAML text to plain values and the line of each key, bounded in size and depth.

No error shows a value: what stands at a wrong place may be a secret.
"""

from __future__ import annotations

import re
from typing import Any

from mixllm.errors import ConfigError, MissingExtraError

__all__ = ["KeyPath", "read_yaml"]

KeyPath = tuple[str | int, ...]
"""Keys and places that lead from the root to a value."""

_MAX_DEPTH = 40
_MAX_NODES = 100_000
"""Most values, counting those behind an anchor as often as they are referred to."""

_MERGE = "tag:yaml.org,2002:merge"
_COLLECTIONS = frozenset({"tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"})
_FLOAT = "tag:yaml.org,2002:float"
_FLOAT_WITHOUT_POINT = re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$")
_SURROGATE = re.compile("[\ud800-\udfff]")
_QUOTED = re.compile(r"'(?!<)[^']{2,}'|\"(?!<)[^\"]{2,}\"")


def read_yaml(text: str, name: str) -> tuple[Any, dict[KeyPath, int]]:
    """Return the value of `text` and the line of each of its keys.

    Parameters
    ----------
    text
        One YAML document. ``1e-6`` is a number, as in YAML 1.2; ``<<`` merges, and own keys go before merged ones.
    name
        What errors call it.

    Raises
    ------
    ConfigError
        Where it is not YAML, is too large or too deep, or has a key twice or one that is not a string.
    MissingExtraError
        Where PyYAML is not installed.

    Examples
    --------
    >>> read_yaml("a: {b: 1}", "text")
    ({'a': {'b': 1}}, {(): 1, ('a',): 1, ('a', 'b'): 1})
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("Reading a configuration file", "cli") from error

    class Loader(yaml.SafeLoader):
        """The safe loader, with YAML 1.2's numbers."""

    Loader.add_implicit_resolver(_FLOAT, _FLOAT_WITHOUT_POINT, list("-+0123456789"))
    try:
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            tree = _Tree(loader, name)
            return (None if node is None else tree.build(node, (), 0)), tree.lines
        finally:
            loader.dispose()
    # The causes carry the text around the fault, which may be a key: hence "from None".
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        problem = _QUOTED.sub("'…'", error.problem or error.context or "it breaks off")
        raise ConfigError(f"{where}: is not valid YAML ({problem}). Correct the line.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{name}, line {line}: has a character that YAML does not allow (#x{error.character:04x}). Remove it."
        ) from None
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"{name}: is not valid YAML, or nested too deeply. Correct it.") from None


class _Tree:
    """Values made from the nodes that PyYAML composed."""

    def __init__(self, loader: Any, name: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._loader = loader
        self._name = name
        self._nodes = 0

    def build(self, node: Any, path: KeyPath, depth: int) -> Any:
        import yaml

        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise self._fault(line, f"has more than {_MAX_NODES} values, those behind anchors included. Shorten it.")
        if depth > _MAX_DEPTH:
            raise self._fault(line, f"is nested more than {_MAX_DEPTH} deep. Flatten it.")
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            raise self._fault(line, "has a tag ('!') that is not known. Leave it out.")
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, place), depth + 1) for place, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        return self._scalar(node, line)

    def _mapping(self, node: Any, path: KeyPath, depth: int) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        merged: list[Any] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE:
                merged.append(value_node)
                continue
            key = key_node.value if isinstance(key_node.value, list) else self._scalar(key_node, line)
            if not isinstance(key, str):
                kind = type(key).__name__
                raise self._fault(line, f"has a key that is no word but of type {kind}. Quote it if it is meant.")
            if key in tree:
                raise self._fault(line, f"key {key!r} is given twice. Keep one.")
            self.lines.setdefault((*path, key), line)
            tree[key] = self.build(value_node, (*path, key), depth + 1)
        for value_node in merged:
            self._merge(tree, self.build(value_node, path, depth + 1), value_node.start_mark.line + 1)
        return tree

    def _merge(self, tree: dict[str, Any], value: Any, line: int) -> None:
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                raise self._fault(line, "merges ('<<') something that is no mapping. Refer to a mapping.")
            for key, child in source.items():
                tree.setdefault(key, child)

    def _scalar(self, node: Any, line: int) -> Any:
        try:
            value = self._loader.construct_object(node)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError):
            # PyYAML lets these through where a value does not fit its tag.
            raise self._fault(line, "has a value that YAML cannot read. Quote it if it is a text.") from None
        if isinstance(value, str) and _SURROGATE.search(value):
            # "\ud800" makes one; nothing can write it, neither into a file nor to an endpoint.
            raise self._fault(
                line, "has half of a surrogate pair ('\\ud800' to '\\udfff'). Write the character itself."
            )
        return value

    def _fault(self, line: int, problem: str) -> ConfigError:
        return ConfigError(f"{self._name}, line {line}: {problem}")
