"""Keys kept in order, cheap to add at the end and to take away anywhere."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator
from typing import Generic, TypeVar

__all__ = ["OrderedKeys"]

_Key = TypeVar("_Key", int, str)

_SLACK = 256


class OrderedKeys(Generic[_Key]):
    """The sorted keys of a mapping; keys that left the mapping are skipped, and swept out now and then.

    Parameters
    ----------
    alive
        The mapping. A key must be added here when, and only when, it enters the mapping.

    Examples
    --------
    >>> alive = {"b": 1, "a": 2, "c": 3}
    >>> keys = OrderedKeys(alive)
    >>> for key in alive:
    ...     keys.add(key)
    >>> del alive["b"]
    >>> list(keys.above("a")), list(keys.below("c")), list(keys.below(None))
    (['c'], ['a'], ['c', 'a'])
    """

    def __init__(self, alive: Container[_Key]) -> None:
        self._alive: Container[_Key] = alive
        self._keys: list[_Key] = []
        self._sweep_at = _SLACK

    def add(self, key: _Key) -> None:
        """Add a key that has entered the mapping."""
        if len(self._keys) >= self._sweep_at:
            self._keys = [known for known in self._keys if known in self._alive]
            self._sweep_at = 2 * len(self._keys) + _SLACK
        if not self._keys or key > self._keys[-1]:  # Nearly always: ids sort by time.
            self._keys.append(key)
            return
        index = bisect_left(self._keys, key)
        if index == len(self._keys) or self._keys[index] != key:  # Else it is back before it was swept out.
            self._keys.insert(index, key)

    def above(self, key: _Key) -> Iterator[_Key]:
        """Yield the keys after `key`, rising."""
        for index in range(bisect_right(self._keys, key), len(self._keys)):
            if self._keys[index] in self._alive:
                yield self._keys[index]

    def below(self, key: _Key | None) -> Iterator[_Key]:
        """Yield the keys before `key`, or all keys, falling."""
        end = len(self._keys) if key is None else bisect_left(self._keys, key)
        for index in range(end - 1, -1, -1):
            if self._keys[index] in self._alive:
                yield self._keys[index]
