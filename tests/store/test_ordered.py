from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.store.ordered import OrderedKeys


@settings(derandomize=True, database=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=200), probe=st.integers(-1, 41))
def test_keys_are_those_of_the_mapping_in_order(steps: list[tuple[bool, int]], probe: int) -> None:
    alive: dict[int, None] = {}
    keys: OrderedKeys[int] = OrderedKeys(alive)
    for add, key in steps:
        if not add:
            alive.pop(key, None)
        elif key not in alive:
            alive[key] = None
            keys.add(key)
    assert list(keys.above(probe)) == sorted(key for key in alive if key > probe)
    assert list(keys.below(probe)) == sorted((key for key in alive if key < probe), reverse=True)
    assert list(keys.below(None)) == sorted(alive, reverse=True)


def test_keys_that_left_do_not_pile_up() -> None:
    alive: dict[int, None] = {}
    keys: OrderedKeys[int] = OrderedKeys(alive)
    for key in range(20_000):
        alive[key] = None
        keys.add(key)
        alive.pop(key - 10, None)
    assert list(keys.above(-1)) == list(range(19_990, 20_000))
    assert len(keys._keys) < 1_000
