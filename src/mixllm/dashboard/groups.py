"""Tallies by name, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

__all__ = ["OTHERS", "Groups"]

OTHERS = "(others)"
"""Stands for every name that came when there was no place left."""

_T = TypeVar("_T")


class Groups(Generic[_T]):
    """One tally for each name, and one for all names beyond the first `most`.

    Parameters
    ----------
    make
        Makes an empty tally.
    most
        How many names have one of their own, >= 1.

    Examples
    --------
    >>> lists = Groups(list, most=2)
    >>> for name in ("a", "b", "c", "d", "a"):
    ...     lists[name].append(name)
    >>> dict(lists.items())
    {'a': ['a', 'a'], 'b': ['b'], '(others)': ['c', 'd']}
    """

    def __init__(self, make: Callable[[], _T], *, most: int = 1000) -> None:
        self._make = make
        self._most = most
        self._tallies: dict[str, _T] = {}

    def __getitem__(self, name: str) -> _T:
        """Return the tally of a name; a new name gets one."""
        found = self._tallies.get(name)
        if found is not None:
            return found
        if len(self._tallies) >= self._most:
            name = OTHERS
        return self._tallies.setdefault(name, self._make())

    def items(self) -> Iterator[tuple[str, _T]]:
        """Yield every name with its tally, in the order in which they came."""
        yield from self._tallies.items()
