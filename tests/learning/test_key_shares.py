"""Keys: each has its share, nobody raises its own, and time gives it back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError, StateError
from mixllm.learning.key_shares import KeyShares


def taught(shares: KeyShares, key: str, count: int, *, llm: str = "small", at_s: float = 0.0) -> float:
    """Return what `count` judgements of `key` may teach."""
    return sum(shares.grant(llm, key, 1.0, at_s=at_s) for _ in range(count))


def in_use(**change: Any) -> KeyShares:
    """Return shares of five honest keys with 100 judgements each."""
    shares = KeyShares(**{"max_share": 0.2, "min_judgements": 20.0, **change})
    for _ in range(100):
        for key in "abcde":
            shares.grant("small", key, 1.0, at_s=0.0)
    return shares


def test_a_key_that_is_alone_has_no_bound() -> None:
    assert taught(KeyShares(), "only", 5000) == 5000


def test_feedback_without_a_key_has_no_bound() -> None:
    shares = in_use()
    assert taught(shares, "", 5000) == 5000


def test_keys_that_share_evenly_are_not_bounded() -> None:
    for keys in ("ab", "abc", "abcdefgh"):
        shares = KeyShares(min_judgements=20)
        granted = [shares.grant("small", key, 1.0, at_s=0.0) for _ in range(500) for key in keys]
        assert sum(granted) == pytest.approx(500 * len(keys), rel=0.01)


@pytest.mark.parametrize("flood", [200, 1000, 20_000])
def test_no_flood_raises_its_own_share(flood: int) -> None:
    assert taught(in_use(), "farmer", flood) == pytest.approx(125.0)  # a quarter of the others' 500: a fifth of all


def test_a_key_that_judges_what_nobody_judges_teaches_the_minimum() -> None:
    shares = in_use()
    assert taught(shares, "farmer", 1000, llm="obscure") == 20.0
    assert taught(shares, "farmer", 1000, llm="obscure") == 0.0


def test_time_gives_a_share_back_and_traffic_does_not() -> None:
    shares = in_use(window_s=100.0)
    first = taught(shares, "farmer", 1000)
    assert taught(shares, "farmer", 1000) == 0.0
    later = taught(shares, "farmer", 1000, at_s=100.0)
    assert 0.0 < later < first
    assert taught(shares, "farmer", 1000, at_s=50.0) == 0.0, "time does not go back"


def test_named_keys_may_be_free_and_the_bound_may_be_off() -> None:
    shares = in_use(unbounded=("production",))
    assert taught(shares, "production", 3000) == 3000
    assert taught(in_use(max_share=1.0), "farmer", 3000) == 3000


def test_a_judgement_may_count_in_part() -> None:
    shares = in_use()
    taught(shares, "farmer", 124)
    assert shares.grant("small", "farmer", 3.0, at_s=0.0) == pytest.approx(1.0)


def test_keys_without_end_take_bounded_room() -> None:
    shares = KeyShares(min_judgements=1)
    for number in range(3000):
        shares.grant("small", f"key {number}", 1.0, at_s=0.0)
    arrays, names = shares.state()
    assert len(names["keys"]) <= 257
    assert arrays["asked"].shape == (2, len(names["keys"]))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 1.0), st.floats(0, 1000)), max_size=60),
    st.integers(0, 60),
)
def test_the_state_comes_back(grants: list[tuple[str, float, float]], cut: int) -> None:
    whole, again = KeyShares(min_judgements=2), KeyShares(min_judgements=2)
    for key, weight, at_s in grants[:cut]:
        whole.grant("small", key, weight, at_s=at_s)
    again.load_state(*whole.state())
    for key, weight, at_s in grants[cut:]:
        expected = whole.grant("small", key, weight, at_s=at_s)
        assert again.grant("small", key, weight, at_s=at_s) == pytest.approx(expected, abs=1e-9)


def test_merging_adds_what_both_have_taught() -> None:
    one, other = in_use(), in_use()
    used = taught(one, "farmer", 1000) + taught(other, "farmer", 1000)
    one.merge(other)
    assert used == pytest.approx(250.0)
    assert taught(one, "farmer", 1000) == pytest.approx(0.0, abs=1e-9), "it has had the fifth of both"


def test_merging_lets_time_pass_first() -> None:
    old, new = KeyShares(window_s=10.0), KeyShares(window_s=10.0)
    taught(old, "a", 100, at_s=0.0)
    taught(new, "a", 100, at_s=10.0)
    new.merge(old)
    arrays, _ = new.state()
    assert arrays["taught"].max() == pytest.approx(100 * (1 + np.exp(-1.0)))


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"max_share": 0.0}, "max_share"),
        ({"max_share": 1.1}, "max_share"),
        ({"window_s": 0.0}, "window_s"),
        ({"min_judgements": -1.0}, "min_judgements"),
    ],
)
def test_bad_bounds_are_refused(change: dict[str, Any], parameter: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        KeyShares(**change)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("name", ["at_s", "asked", "taught"])
@pytest.mark.parametrize("fault", ["missing", "shape", "nan", "negative"])
def test_a_damaged_state_is_refused(name: str, fault: str) -> None:
    shares = in_use()
    arrays, names = shares.state()
    if fault == "missing":
        del arrays[name]
    elif fault == "shape":
        arrays[name] = arrays[name][:1]
    else:
        arrays[name] = np.full_like(arrays[name], np.nan if fault == "nan" else -1e30)
    with pytest.raises(StateError, match="Load another checkpoint"):
        shares.load_state(arrays, names)
    assert taught(shares, "farmer", 1000) == pytest.approx(125.0), "what was known stays"
