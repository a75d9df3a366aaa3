"""Each policy by hand."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.decision.forecasts import forecast

from mixllm.decision import (
    ExplorationBounds,
    GreedyPolicy,
    SquareCBPolicy,
    ThompsonPolicy,
    UCBPolicy,
    WarmUpPolicy,
)
from mixllm.decision.thompson import probability_of_best
from mixllm.errors import InvalidValueError
from mixllm.interfaces import Policy
from mixllm.types import Forecast

BOUNDS = ExplorationBounds(max_cost_ratio=3.0, min_quality=0.2)
COLD, WARM = forecast(judgements=0, std=0.3), forecast(judgements=100)


def choose(
    policy: Policy, scores: list[float], *, stds: list[float] | None = None, pool: list[Forecast] | None = None
) -> NDArray[np.float64]:
    return policy.propensities(
        scores=np.array(scores),
        stds=np.array(stds or [0.1] * len(scores)),
        forecasts=pool or [WARM] * len(scores),
    )


def test_parameters_reach_their_attributes() -> None:
    ucb = UCBPolicy(exploration=0.7, bounds=BOUNDS)
    assert (ucb.exploration, ucb.bounds) == (0.7, BOUNDS)
    squarecb = SquareCBPolicy(gap_weight=17.0, bounds=BOUNDS)
    assert (squarecb.gap_weight, squarecb.bounds) == (17.0, BOUNDS)
    thompson = ThompsonPolicy(scale=1.7, bounds=BOUNDS)
    assert (thompson.scale, thompson.bounds) == (1.7, BOUNDS)
    warm_up = WarmUpPolicy(
        policy=ucb,
        judgements=9,
        share=0.35,
        newcomer_judgements=7,
        newcomer_optimism=0.8,
        max_cost_usd=2.0,
        std_ratio=1.2,
        bounds=BOUNDS,
    )
    assert (warm_up.newcomer_judgements, warm_up.newcomer_optimism) == (7, 0.8)
    assert (warm_up.max_cost_usd, warm_up.std_ratio) == (2.0, 1.2)
    assert (warm_up.policy, warm_up.judgements, warm_up.share, warm_up.bounds) == (ucb, 9, 0.35, BOUNDS)


def test_names() -> None:
    names = [policy.name for policy in (GreedyPolicy(), UCBPolicy(), SquareCBPolicy(), ThompsonPolicy())]
    assert names == ["greedy", "ucb", "squarecb", "thompson"]
    assert WarmUpPolicy(policy=ThompsonPolicy()).name == "thompson"


def test_without_bounds_everything_may_be_explored() -> None:
    for policy in (UCBPolicy(), SquareCBPolicy(), ThompsonPolicy(), WarmUpPolicy(policy=GreedyPolicy())):
        assert policy.bounds == ExplorationBounds()


def test_greedy_takes_the_best_and_of_equals_the_first() -> None:
    assert choose(GreedyPolicy(), [0.1, 0.9, 0.5]).tolist() == [0, 1, 0]
    assert choose(GreedyPolicy(), [0.5, 0.9, 0.9]).tolist() == [0, 1, 0]


def test_ucb_adds_its_bonus() -> None:
    pool = [forecast(std=0.1), forecast(std=0.5)]
    assert choose(UCBPolicy(exploration=0.0), [0.5, 0.4], pool=pool).tolist() == [1, 0]
    assert choose(UCBPolicy(exploration=0.24), [0.5, 0.4], pool=pool).tolist() == [1, 0]
    assert choose(UCBPolicy(exploration=0.26), [0.5, 0.4], pool=pool).tolist() == [0, 1]


def test_ucb_keeps_within_its_bounds() -> None:
    pool = [forecast(std=0.0, cost_usd=0.001), forecast(std=9.0, cost_usd=0.0031), forecast(std=1.0, cost_usd=0.0029)]
    assert choose(UCBPolicy(exploration=1.0, bounds=BOUNDS), [0.5, 0.4, 0.3], pool=pool).tolist() == [0, 0, 1]


def test_squarecb_by_hand() -> None:
    """p = 1/(K + γ gap): 1/(3 + 10 · 0.2) = 0.2 and 1/(3 + 10 · 0.7) = 0.1; the best takes the rest."""
    assert choose(SquareCBPolicy(gap_weight=10.0), [0.2, 0.9, 0.7]) == pytest.approx([0.1, 0.7, 0.2])
    assert choose(SquareCBPolicy(gap_weight=10.0), [0.9, 0.9]) == pytest.approx([0.5, 0.5])


def test_squarecb_counts_only_whom_it_may_explore() -> None:
    pool = [forecast(cost_usd=0.001), forecast(cost_usd=0.1), forecast(cost_usd=0.001)]
    propensities = choose(SquareCBPolicy(gap_weight=10.0, bounds=BOUNDS), [0.9, 0.8, 0.1], pool=pool)
    assert propensities == pytest.approx([0.9, 0.0, 0.1])


def test_thompson_scales_its_standard_deviations() -> None:
    scores, stds = [0.6, 0.5], [0.1, 0.1]
    narrow = choose(ThompsonPolicy(scale=0.5), scores, stds=stds)
    wide = choose(ThompsonPolicy(scale=4.0), scores, stds=stds)
    assert 0.5 < wide[0] < choose(ThompsonPolicy(), scores, stds=stds)[0] < narrow[0] < 1.0


def test_thompson_keeps_within_its_bounds() -> None:
    pool = [forecast(cost_usd=0.001), forecast(cost_usd=0.1), forecast(cost_usd=0.001)]
    propensities = choose(ThompsonPolicy(bounds=BOUNDS), [0.5, 0.5, 0.5], pool=pool)
    assert propensities == pytest.approx([0.5, 0.0, 0.5], abs=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_probability_of_best_against_drawing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 8))
    means, stds = rng.normal(size=count), 10.0 ** rng.uniform(-4, 1, count)
    draws = 200_000
    best = np.argmax(means + stds * rng.normal(size=(draws, count)), axis=1)
    frequencies = np.bincount(best, minlength=count) / draws
    assert probability_of_best(means, stds) == pytest.approx(frequencies, abs=5e-3)


@given(
    st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
    st.tuples(st.floats(1e-6, 10), st.floats(1e-6, 10)),
)
def test_of_two_the_probability_is_known_in_closed_form(means: tuple[float, float], stds: tuple[float, float]) -> None:
    gap = (means[0] - means[1]) / math.hypot(*stds)
    expected = 0.5 * (1.0 + math.erf(gap / math.sqrt(2.0)))
    assert probability_of_best(np.array(means), np.array(stds))[0] == pytest.approx(expected, abs=3e-3)


def test_probability_of_best_of_the_certain() -> None:
    assert probability_of_best(np.array([0.1, 0.2, 0.15]), np.zeros(3)) == pytest.approx([0, 1, 0], abs=1e-6)
    assert probability_of_best(np.array([1e21, 5e20, 0.0]), np.zeros(3)) == pytest.approx([1, 0, 0], abs=1e-6)
    assert probability_of_best(np.full(4, 3.0), np.zeros(4)) == pytest.approx([0.25] * 4)


def test_warm_up_gives_the_cold_their_share() -> None:
    """p = (1 − share) p_policy + share · uniform(cold)."""
    policy = WarmUpPolicy(policy=GreedyPolicy(), judgements=10, share=0.3)
    pool = [WARM, COLD, forecast(judgements=9.5, std=0.2), forecast(judgements=10)]
    assert choose(policy, [0.9, 0.1, 0.2, 0.3], pool=pool) == pytest.approx([0.7, 0.15, 0.15, 0.0])
    assert choose(policy, [0.1, 0.9, 0.2, 0.3], pool=pool) == pytest.approx([0.0, 0.85, 0.15, 0.0])


def test_warm_up_ends() -> None:
    inner = SquareCBPolicy(gap_weight=5.0)
    policy = WarmUpPolicy(policy=inner, judgements=10, share=0.3)
    assert np.array_equal(choose(policy, [0.9, 0.1]), choose(inner, [0.9, 0.1]))
    off = WarmUpPolicy(policy=inner, judgements=0, share=0.9)
    assert np.array_equal(choose(off, [0.9, 0.1], pool=[COLD, COLD]), choose(inner, [0.9, 0.1]))


def test_warm_up_keeps_within_the_bounds() -> None:
    """The exploration of a new LLM is bounded as any other."""
    policy = WarmUpPolicy(policy=GreedyPolicy(), judgements=10, share=0.3, bounds=BOUNDS)
    dear = forecast(judgements=0, cost_usd=1.0, std=0.3)
    assert choose(policy, [0.9, 0.1], pool=[WARM, dear]).tolist() == [1.0, 0.0]
    assert choose(policy, [0.9, 0.1, 0.1], pool=[WARM, dear, COLD]) == pytest.approx([0.7, 0.0, 0.3])


def test_the_best_is_hoped_of_newcomers_until_they_are_known() -> None:
    policy = WarmUpPolicy(policy=GreedyPolicy(), newcomer_judgements=50, newcomer_optimism=2.0, max_cost_usd=1.0)
    stds = [0.05, 0.3]
    new = forecast(judgements=10, std=0.3, newcomer=True)
    assert choose(policy, [0.9, 0.4], stds=stds, pool=[WARM, new]).tolist() == [0.0, 1.0]
    assert choose(policy, [0.9, 0.2], stds=stds, pool=[WARM, new]).tolist() == [1.0, 0.0]
    for known in (
        forecast(judgements=10, std=0.3),
        forecast(judgements=50, std=0.3, newcomer=True),
        forecast(judgements=10, std=0.3, newcomer=True, spent_usd=1.1),
        forecast(judgements=10, std=0.14, newcomer=True),
    ):
        assert choose(policy, [0.9, 0.4], stds=stds, pool=[WARM, known]).tolist() == [1.0, 0.0]


def test_warm_up_ends_where_it_has_cost_enough() -> None:
    policy = WarmUpPolicy(policy=GreedyPolicy(), judgements=10, share=0.3, max_cost_usd=0.5)
    dear = forecast(judgements=3, std=0.3, spent_usd=0.51)
    assert choose(policy, [0.9, 0.1], pool=[WARM, dear]).tolist() == [1.0, 0.0]
    assert choose(policy, [0.9, 0.1, 0.1], pool=[WARM, dear, COLD]) == pytest.approx([0.7, 0.0, 0.3])


def test_warm_up_ends_early_where_an_llm_is_as_well_known_as_the_others() -> None:
    policy = WarmUpPolicy(policy=GreedyPolicy(), judgements=200, share=0.3, std_ratio=2.0)
    warm = [forecast(judgements=300, std=std) for std in (0.05, 0.1, 0.4)]
    known, unknown = forecast(judgements=30, std=0.2), forecast(judgements=30, std=0.21)
    assert choose(policy, [0.9, 0.1, 0.1, 0.1, 0.1], pool=[*warm, known, unknown])[3:] == pytest.approx([0.0, 0.3])
    alone = choose(policy, [0.9, 0.1], pool=[known, unknown])
    assert alone == pytest.approx([0.85, 0.15]), "where none is warm there is nothing to compare with"


@pytest.mark.parametrize(
    ("make", "parameter"),
    [
        (lambda: UCBPolicy(exploration=-0.1), "exploration"),
        (lambda: UCBPolicy(exploration=math.nan), "exploration"),
        (lambda: SquareCBPolicy(gap_weight=0.0), "gap_weight"),
        (lambda: SquareCBPolicy(gap_weight=math.inf), "gap_weight"),
        (lambda: ThompsonPolicy(scale=0.0), "scale"),
        (lambda: WarmUpPolicy(policy=GreedyPolicy(), judgements=-1), "judgements"),
        (lambda: WarmUpPolicy(policy=GreedyPolicy(), share=1.1), "share"),
        (lambda: WarmUpPolicy(policy=GreedyPolicy(), newcomer_judgements=-1), "newcomer_judgements"),
        (lambda: WarmUpPolicy(policy=GreedyPolicy(), newcomer_optimism=-0.1), "newcomer_optimism"),
        (lambda: WarmUpPolicy(policy=GreedyPolicy(), max_cost_usd=0.0), "max_cost_usd"),
        (lambda: WarmUpPolicy(policy=GreedyPolicy(), std_ratio=math.nan), "std_ratio"),
    ],
)
def test_parameters_out_of_range_are_refused(make: Any, parameter: str) -> None:
    with pytest.raises(InvalidValueError, match=f"^{parameter} must be"):
        make()


def test_thompson_gives_the_little_judged_a_wider_chance() -> None:
    scores, stds = np.array([0.5, 0.3]), np.array([0.1, 0.1])

    def chance(policy: ThompsonPolicy, judgements: float) -> float:
        known = [msgspec.structs.replace(forecast(), judgements=judgements) for _ in scores]
        return float(policy.propensities(scores=scores, stds=stds, forecasts=known)[1])

    early = ThompsonPolicy(scale=0.3, early_scale=1.0, early_judgements=20.0)
    assert chance(early, 0.0) == pytest.approx(chance(ThompsonPolicy(scale=1.0), 0.0))
    assert chance(early, 0.0) > chance(early, 20.0) > chance(early, 1000.0)
    assert chance(early, 1000.0) == pytest.approx(chance(ThompsonPolicy(scale=0.3), 0.0))
    bold = ThompsonPolicy(scale=2.0, early_scale=1.0, early_judgements=20.0)
    assert chance(bold, 0.0) == chance(ThompsonPolicy(scale=2.0), 0.0)
