from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.evaluation.contender import Predictions
from mixllm.evaluation.frontier import TRADE_OFFS, choose, sweep, upper_hull

POINTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12)


def best_mix(points: list[tuple[int, int]], cost: float) -> float | None:
    """The best quality of any mix of two points that costs no more, by trying every pair."""
    best = None
    for x1, y1 in points:
        for x2, y2 in points:
            if min(x1, x2) > cost:
                continue
            share = 1.0 if max(x1, x2) <= cost else (cost - min(x1, x2)) / (max(x1, x2) - min(x1, x2))
            low, high = ((x1, y1), (x2, y2)) if x1 <= x2 else ((x2, y2), (x1, y1))
            found = max(low[1], low[1] + share * (high[1] - low[1]))
            best = found if best is None else max(best, found)
    return best


@given(POINTS, st.floats(0, 25))
def test_the_hull_is_the_best_mix_of_two_points(points: list[tuple[int, int]], cost: float) -> None:
    costs, qualities = zip(*points, strict=True)
    frontier = upper_hull(costs, qualities)
    expected = best_mix(points, cost)
    found = frontier.quality_at(cost)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found == pytest.approx(expected, abs=1e-9)


@given(POINTS)
def test_the_hull_rises_is_concave_and_begins_and_ends_at_points(points: list[tuple[int, int]]) -> None:
    costs, qualities = zip(*points, strict=True)
    frontier = upper_hull(costs, qualities)
    assert (np.diff(frontier.cost) > 0).all()
    assert (np.diff(frontier.quality) > 0).all()
    slopes = np.diff(frontier.quality) / np.diff(frontier.cost)
    assert (np.diff(slopes) < 0).all()
    assert frontier.cost[0] == min(costs)
    assert frontier.quality[-1] == max(qualities)
    assert set(zip(frontier.cost, frontier.quality, strict=True)) <= set(points)


@given(POINTS, st.integers(0, 20))
def test_cost_and_quality_are_each_others_inverse(points: list[tuple[int, int]], quality: int) -> None:
    frontier = upper_hull(*zip(*points, strict=True))
    cost = frontier.cost_at(quality)
    assert (cost is None) == (quality > frontier.quality[-1])
    if cost is not None:
        reached = frontier.quality_at(cost)
        assert reached is not None
        assert reached >= quality - 1e-9


@st.composite
def _predictions(draw: st.DrawFn) -> tuple[Predictions, NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    queries, llms = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    # Few different values, so that there are ties.
    tables = [rng.integers(1, 4, (queries, llms)) / 4 for _ in range(4)]
    return Predictions(quality=tables[0], cost_usd=tables[1]), tables[2], tables[3]


@given(_predictions())
def test_the_sweep_counts_what_the_choice_at_each_trade_off_gives(
    case: tuple[Predictions, NDArray[np.float64], NDArray[np.float64]],
) -> None:
    predictions, quality, cost = case
    values = np.array([0.0, 0.37, 1.234, 7.77, np.inf])  # off the ties of the values above
    found = sweep(predictions, quality=quality, cost_usd=cost, reference=0, cost_unit=0.5, trade_offs=values)
    for place, value in enumerate(values.tolist()):
        chosen = []
        for hoped, feared in zip(predictions.quality.tolist(), predictions.cost_usd.tolist(), strict=True):
            llms = range(len(hoped))
            if value == 0:
                chosen.append(min(llms, key=lambda llm: (feared[llm], -hoped[llm], llm)))
            elif value == np.inf:
                chosen.append(min(llms, key=lambda llm: (-hoped[llm], feared[llm], llm)))
            else:
                scores = [value * hoped[llm] - feared[llm] / 0.5 for llm in llms]
                chosen.append(int(np.argmax(scores)))
        rows = np.arange(len(quality))
        assert found.quality[place] == pytest.approx(quality[rows, chosen].mean() / quality[:, 0].mean())
        assert found.cost[place] == pytest.approx(cost[rows, chosen].mean() / cost[:, 0].mean())
        alone = choose(predictions, trade_off=value, cost_unit=0.5)
        assert quality[rows, alone].mean() / quality[:, 0].mean() == pytest.approx(found.quality[place])


def test_predicted_costs_decide_and_recorded_costs_are_counted() -> None:
    predictions = Predictions(quality=np.array([[0.5, 0.5]]), cost_usd=np.array([[2.0, 1.0]]))
    found = sweep(
        predictions, quality=np.array([[1.0, 0.5]]), cost_usd=np.array([[1.0, 3.0]]), reference=0, cost_unit=1.0
    )
    assert set(found.cost.tolist()) == {3.0}
    assert set(found.quality.tolist()) == {0.5}


def test_the_grid_is_dense_and_has_both_ends() -> None:
    assert TRADE_OFFS[0] == 0.0
    assert TRADE_OFFS[-1] == np.inf
    assert len(TRADE_OFFS) == 402
    assert (np.diff(TRADE_OFFS) > 0).all()


def test_the_trade_off_for_a_target_is_the_cheapest_that_reaches_it() -> None:
    costs = np.array([[0.1, 1.0], [0.1, 2.0]])
    predictions = Predictions(quality=np.array([[0.2, 0.9]] * 2), cost_usd=costs)
    recorded = np.array([[0.0, 1.0], [1.0, 1.0]])
    found = sweep(predictions, quality=recorded, cost_usd=costs, reference=1, cost_unit=1.0)
    half = found.trade_off_for(0.5)
    assert choose(predictions, trade_off=half, cost_unit=1.0).tolist() == [0, 0]
    assert choose(predictions, trade_off=found.trade_off_for(1.0), cost_unit=1.0).tolist() == [1, 0]
    assert found.trade_off_for(2.0) == found.trade_off_for(1.0), "where none reaches it, the best for least cost"


def test_the_area_is_flat_to_the_right_and_goes_to_nothing_on_the_left() -> None:
    frontier = upper_hull([0.5, 1.0], [0.5, 1.0])
    assert frontier.area(0.0, 1.0) == pytest.approx(0.5)
    assert frontier.area(1.0, 3.0) == pytest.approx(1.0)
    assert upper_hull([0.5], [0.8]).area(0.25, 0.75) == pytest.approx((0.25 * 0.6 + 0.25 * 0.8) / 0.5)


@pytest.mark.parametrize(
    ("cost", "quality"),
    [([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]]), ([np.nan], [1.0]), ([1.0], [np.inf])],
)
def test_a_hull_of_bad_points_is_refused(cost: list[float], quality: list[float]) -> None:
    with pytest.raises(InvalidValueError):
        upper_hull(cost, quality)


def test_bad_sweeps_are_refused() -> None:
    one = np.ones((2, 2))
    predictions = Predictions(quality=one, cost_usd=one)
    with pytest.raises(InvalidValueError, match="quality"):
        sweep(predictions, quality=np.ones((2, 3)), cost_usd=np.ones((2, 3)), reference=0, cost_unit=1.0)
    with pytest.raises(InvalidValueError, match="reference"):
        sweep(predictions, quality=np.zeros((2, 2)), cost_usd=one, reference=0, cost_unit=1.0)
    with pytest.raises(InvalidValueError, match="cost_unit"):
        sweep(predictions, quality=one, cost_usd=one, reference=0, cost_unit=0.0)
    with pytest.raises(InvalidValueError, match="dearest"):
        upper_hull([1.0], [1.0]).area(1.0, 1.0)
    with pytest.raises(InvalidValueError, match="finite"):
        Predictions(quality=one * np.nan, cost_usd=one)
    with pytest.raises(InvalidValueError, match="cost_usd"):
        Predictions(quality=one, cost_usd=np.ones((2, 3)))
