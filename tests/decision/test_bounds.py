"""Bounds on exploration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.decision.forecasts import forecast

from mixllm.decision import ExplorationBounds
from mixllm.errors import InvalidValueError

POOL = [
    forecast(quality=0.6, std=0.1, cost_usd=0.001),  # the best-scored
    forecast(quality=0.9, std=0.1, cost_usd=0.010),
    forecast(quality=0.2, std=0.1, cost_usd=0.0001),
    forecast(quality=0.2, std=0.5, cost_usd=0.002),
]
SCORES = np.array([0.9, 0.5, 0.4, 0.3])


@pytest.mark.parametrize(
    ("bounds", "allowed"),
    [
        (ExplorationBounds(), [True, True, True, True]),
        (ExplorationBounds(max_cost_ratio=2.0), [True, False, True, True]),
        (ExplorationBounds(max_cost_ratio=10.0), [True, True, True, True]),
        (ExplorationBounds(max_cost_ratio=0.0), [True, False, False, False]),
        (ExplorationBounds(min_quality=0.5), [True, True, False, True]),
        (ExplorationBounds(min_quality=1.0), [True, True, False, False]),
        (ExplorationBounds(max_cost_ratio=1.0, min_quality=0.5), [True, False, False, False]),
    ],
)
def test_by_hand(bounds: ExplorationBounds, allowed: list[bool]) -> None:
    assert bounds.allowed(scores=SCORES, forecasts=POOL).tolist() == allowed


def test_parameters_reach_their_attributes() -> None:
    bounds = ExplorationBounds(max_cost_ratio=2.5, min_quality=0.3)
    assert (bounds.max_cost_ratio, bounds.min_quality) == (2.5, 0.3)


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8),
    st.none() | st.floats(0, 100),
    st.none() | st.floats(0, 1),
)
def test_the_best_scored_is_always_allowed(
    pool: list[tuple[float, float, float]], max_cost_ratio: float | None, min_quality: float | None
) -> None:
    scores = np.array([score for score, _, _ in pool])
    allowed = ExplorationBounds(max_cost_ratio=max_cost_ratio, min_quality=min_quality).allowed(
        scores=scores, forecasts=[forecast(quality=quality, cost_usd=cost) for _, quality, cost in pool]
    )
    assert allowed[scores.argmax()]
    assert allowed.shape == (len(pool),)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_cost_ratio", -1.0), ("max_cost_ratio", math.nan), ("min_quality", 1.1), ("min_quality", -0.1)],
)
def test_values_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=f"^{name} must be"):
        ExplorationBounds(**{name: value})
