"""Random changes to JSON trees: values that are replaced, dropped, doubled, or put under another name."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

__all__ = ["changed_tree"]

_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        2**64,
        10**40,
        0.5,
        -0.0,
        1e308,
        5e-324,
        "",
        "x",
        "0",
        "\x00",
        "\ud800",
    ),
    *(
        "é" * 50,
        "a" * 5000,
        "mixllm/auto",
        "user",
        "http://127.0.0.1:9/v1",
        "os.environ/HOME",
        [],
        {},
        [[]],
        [None],
        {"": {}},
    ),
    *({"role": "user", "content": "x"}, [{"role": "user", "content": "x"}], {"type": "text", "text": "x"}),
    {"type": "image_url", "image_url": {"url": "data:x"}},
)
_NAMES = (
    "model",
    "messages",
    "role",
    "content",
    "stream",
    "mixllm",
    "lambda",
    "tools",
    "n",
    "name",
    "price",
    "",
    "x" * 300,
)


def changed_tree(tree: Any, rng: np.random.Generator, *, most: int = 3) -> Any:
    """Return a copy of `tree` with one to `most` changes."""
    holder = [copy.deepcopy(tree)]
    for _ in range(int(rng.integers(1, most + 1))):
        place, key = _place(holder, rng)
        value = copy.deepcopy(_VALUES[int(rng.integers(len(_VALUES)))])
        match int(rng.integers(6)):
            case 0 if place is not holder:
                del place[key]
            case 1 if isinstance(place, dict):
                place[_NAMES[int(rng.integers(len(_NAMES)))]] = place[key]
            case 2 if isinstance(place, dict):
                place[_NAMES[int(rng.integers(len(_NAMES)))]] = value
            case 3 if isinstance(place, list) and place is not holder:
                place.insert(key, copy.deepcopy(place[key]))
            case 4:
                place[key] = _nested(place[key], rng)
            case _:
                place[key] = value
    return holder[0]


def _place(holder: list[Any], rng: np.random.Generator) -> tuple[Any, Any]:
    """Return a container somewhere in the tree and a key or index of it."""
    place: Any = holder
    key: Any = 0
    while rng.random() < 0.75 and isinstance(place[key], dict | list) and place[key]:
        place = place[key]
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = keys[int(rng.integers(len(keys)))]
    return place, key


def _nested(value: Any, rng: np.random.Generator) -> Any:
    depth = int(rng.integers(1, 400)) if rng.random() < 0.1 else 1
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {"x": value}
    return value
