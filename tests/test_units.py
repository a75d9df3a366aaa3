"""Bounds and conversions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError
from mixllm.units import (
    TOKENS_PER_MILLION,
    finite,
    fraction,
    non_negative,
    positive,
    tokens_from_chars,
    usd_for_tokens,
)

Check = Callable[[str, Any], float]
CHECKS: list[Check] = [finite, non_negative, positive, fraction]
HUGE = 10**400


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (finite, [-1.5, 0, 1e308, np.float32(2), True], []),
        (non_negative, [0, 1e-300, 7], [-1e-300, -1]),
        (positive, [1e-300, 7], [0, -1]),
        (fraction, [0, 0.5, 1, np.float64(1.0)], [-1e-12, 1 + 1e-12, 2]),
    ],
)
def test_values_are_returned_or_refused(check: Check, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert check("x", value) is value
    for value in [*bad, math.nan, math.inf, -math.inf, HUGE, -HUGE, None, "0.5", [1, 2], 1j]:
        with pytest.raises(InvalidValueError, match=r"^x must be .*; got .*\.$") as caught:
            check("x", value)
        assert caught.value.parameter == "x"


@pytest.mark.parametrize("check", CHECKS)
def test_a_number_of_thousands_of_digits_is_refused_without_writing_it(check: Check) -> None:
    with pytest.raises(InvalidValueError, match="too long to show"):
        check("x", 10**9_999)


@given(st.floats())
def test_the_checks_agree_with_their_ranges(value: float) -> None:
    def passes(check: Check) -> bool:
        try:
            check("x", value)
        except InvalidValueError:
            return False
        return True

    assert passes(finite) is math.isfinite(value)
    assert passes(non_negative) is (math.isfinite(value) and value >= 0)
    assert passes(positive) is (math.isfinite(value) and value > 0)
    assert passes(fraction) is (0 <= value <= 1)


def test_prices_are_per_million_tokens() -> None:
    assert TOKENS_PER_MILLION == 1_000_000
    assert usd_for_tokens(1_000_000, 2.5) == 2.5
    assert usd_for_tokens(0, 2.5) == 0.0
    assert usd_for_tokens(3, 2.0) == pytest.approx(6e-6)


@pytest.mark.parametrize(("chars", "tokens"), [(0, 1), (1, 1), (4, 1), (5, 2), (400, 100), (401, 101)])
def test_tokens_are_estimated_from_characters(chars: int, tokens: int) -> None:
    assert tokens_from_chars(chars) == tokens
