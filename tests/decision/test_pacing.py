"""The price of a budget: it rises where calls cost more than their target, and falls where they cost less."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.decision import Pacer
from mixllm.errors import InvalidValueError

COSTS = st.lists(st.floats(0, 0.1), max_size=40)


def run(costs: list[float], target: float) -> Pacer:
    pacer = Pacer()
    for usd in costs:
        pacer.decided(usd, target_usd=target)
    return pacer


def test_parameters_reach_their_attributes() -> None:
    pacer = Pacer(step=0.5, first_step=0.7, max_weight=3.0)
    assert (pacer.step, pacer.first_step, pacer.max_weight) == (0.5, 0.7, 3.0)
    for name in ("step", "first_step", "max_weight"):
        with pytest.raises(InvalidValueError, match=name):
            Pacer(**{name: 0.0})


def test_a_loose_budget_changes_nothing() -> None:
    pacer = run([0.01] * 500, target=0.011)
    assert pacer.cost_weight == 1.0
    assert not pacer.out_of_reach
    pacer.corrected(0.05, target_usd=0.011)
    assert pacer.cost_weight == 1.0, "nor does chance"


@given(COSTS, st.floats(1e-4, 1.0), st.data())
def test_whoever_spends_more_pays_more(costs: list[float], target: float, data: st.DataObject) -> None:
    more = [usd + data.draw(st.floats(0, 0.05)) for usd in costs]
    assert run(more, target).cost_weight >= run(costs, target).cost_weight * (1 - 1e-12)


@given(COSTS, st.floats(1e-4, 1.0), st.floats(1.0, 10.0))
def test_who_may_spend_more_pays_less(costs: list[float], target: float, factor: float) -> None:
    assert run(costs, target * factor).cost_weight <= run(costs, target).cost_weight * (1 + 1e-12)


@given(COSTS, st.floats(0, 1.0))
def test_the_weight_stays_in_its_range(costs: list[float], target: float) -> None:
    assert 1.0 <= run(costs, target).cost_weight <= 1000.0 * (1 + 1e-9)


@given(COSTS, st.floats(1e-3, 1.0), st.floats(1e-3, 1e3))
def test_dollars_are_paced_like_cents(costs: list[float], target: float, unit: float) -> None:
    other = run([usd * unit for usd in costs], target * unit)
    assert other.cost_weight == pytest.approx(run(costs, target).cost_weight, rel=1e-6)


def test_costs_known_late_move_it_as_far_as_costs_known_at_once() -> None:
    at_once, late = Pacer(step=0.01, first_step=0.01), Pacer(step=0.01, first_step=0.01)
    for _ in range(10):
        at_once.decided(0.03, target_usd=0.01)
        late.decided(0.02, target_usd=0.01)
    for _ in range(10):
        late.corrected(0.01, target_usd=0.01)
    assert late.cost_weight == pytest.approx(at_once.cost_weight)


def test_one_dear_call_does_not_stop_the_next_ones() -> None:
    pacer = Pacer()
    pacer.decided(1e6, target_usd=0.01)
    assert pacer.cost_weight == pytest.approx(math.exp(0.5))


def test_a_budget_out_of_reach_is_told_and_does_not_oscillate() -> None:
    pacer = Pacer()
    weights = []
    for _ in range(2000):
        pacer.decided(0.01, target_usd=0.002)  # The cheapest LLM costs five times the target.
        weights.append(pacer.cost_weight)
    assert pacer.out_of_reach
    assert all(one <= other for one, other in itertools.pairwise(weights))
    assert weights[-1] == pytest.approx(pacer.max_weight)
    for _ in range(2000):
        pacer.decided(0.01, target_usd=0.02)
    assert pacer.cost_weight == 1.0
    assert not pacer.out_of_reach


def test_nothing_left_is_no_division_by_zero() -> None:
    pacer = Pacer()
    pacer.decided(0.0, target_usd=0.0)
    assert pacer.cost_weight == 1.0
    pacer.decided(0.01, target_usd=0.0)
    assert pacer.cost_weight > 1.0


def test_it_finds_the_multiplier_of_a_known_market() -> None:
    # Costs fall with the weight as c = 0.02 / weight: the mean cost is the target at a weight of 4.
    rng = np.random.default_rng(0)
    pacer = Pacer()
    weights = []
    for _ in range(4000):
        pacer.decided(0.02 / pacer.cost_weight * float(rng.exponential()), target_usd=0.005)
        weights.append(pacer.cost_weight)
    assert float(np.mean(weights[2000:])) == pytest.approx(4.0, rel=0.05)
