"""Rate limits over the last minute."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.registry.rate_window import RateWindow, rate_hold
from mixllm.types import LLMSpec


def wait_s(window: RateWindow, spec: LLMSpec, now_s: float, tokens: float = 1.0) -> float:
    hold = rate_hold(spec, window.cells, now_s=now_s, tokens=tokens)
    return 0.0 if hold is None else hold.wait_s


def test_without_limits_nothing_is_held() -> None:
    window = RateWindow()
    for _ in range(100):
        window.count(5.0, 1e9)
    assert rate_hold(LLMSpec(name="a"), window.cells, now_s=5.0, tokens=1e9) is None


def test_the_limit_of_requests_says_when_it_is_free() -> None:
    spec, window = LLMSpec(name="a", requests_per_minute=2), RateWindow()
    window.count(10.0, 5.0)
    assert wait_s(window, spec, 10.0) == 0.0
    window.count(20.5, 5.0)
    hold = rate_hold(spec, window.cells, now_s=21.0, tokens=1.0)
    assert hold is not None
    assert hold.reason == "rate limit of 2 requests/min is used up, free in 50.0 s"
    assert hold.wait_s == 50.0
    assert wait_s(window, spec, 71.0) == 0.0


def test_tokens_are_settled_by_what_was_used() -> None:
    spec, window = LLMSpec(name="a", tokens_per_minute=100), RateWindow()
    window.count(0.0, 95.0)
    assert wait_s(window, spec, 1.0, tokens=5.0) == 0.0
    assert wait_s(window, spec, 1.0, tokens=6.0) == 60.0
    assert window.settle(0.0, -50.0) is not None
    assert wait_s(window, spec, 1.0, tokens=55.0) == 0.0
    window.count(64.0, 0.0)  # the same cell
    assert window.settle(0.0, 50.0) is None


def test_a_prompt_above_the_limit_never_passes() -> None:
    assert wait_s(RateWindow(), LLMSpec(name="a", tokens_per_minute=100), 0.0, tokens=101.0) == math.inf


@given(
    gaps=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=120),
    limit=st.integers(1, 8),
)
def test_no_minute_holds_more_requests_than_the_limit(gaps: list[float], limit: int) -> None:
    spec, window = LLMSpec(name="a", requests_per_minute=limit), RateWindow()
    now_s, passed = 0.0, list[float]()
    for gap in gaps:
        now_s += gap
        wait = wait_s(window, spec, now_s)
        if wait > 0:
            assert wait <= 61.0
            now_s += wait
            assert wait_s(window, spec, now_s) < 1e-6
        window.count(now_s, 1.0)
        passed.append(now_s)
    for end_s in passed:
        assert sum(end_s - 60.0 < at_s <= end_s for at_s in passed) <= limit


@pytest.mark.parametrize("nonsense", [math.nan, 1e300, -1.0])
def test_nonsense_from_elsewhere_blocks_nothing(nonsense: float) -> None:
    window = RateWindow()
    window.cells[:, 0] = nonsense
    window.cells[:, 1] = 100.0
    assert wait_s(window, LLMSpec(name="a", requests_per_minute=2), 100.0) == 0.0
