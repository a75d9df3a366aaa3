"""What a decision does with a query unlike those learned from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.decision.forecasts import forecast

from mixllm.decision import (
    Choice,
    DecisionMaker,
    ExplorationBounds,
    Forecasts,
    GreedyPolicy,
    OutOfDomainRule,
    Outside,
    ScoreWeights,
    SquareCBPolicy,
    ThompsonPolicy,
    UCBPolicy,
    WarmUpPolicy,
)
from mixllm.errors import InvalidValueError
from mixllm.interfaces import Policy
from mixllm.types import LLMSpec, Query

SPECS = [LLMSpec(name=name) for name in ("guess", "steady")]
POOL = [forecast(quality=0.9, std=0.05, judgements=3.0), forecast(quality=0.8, std=0.05)]
RULE = OutOfDomainRule(shrinkage=1.0, widening=1.0, threshold=0.5, pessimism=1.0)


def outside(score: float) -> Outside:
    return Outside(score=score, levels=np.array([0.6, 0.8]), spreads=np.array([0.3, 0.1]))


def choose(score: float | None, *, rule: OutOfDomainRule | None = RULE, policy: Policy | None = None) -> Choice:
    maker = DecisionMaker(weights=ScoreWeights(), policy=policy or GreedyPolicy(), out_of_domain=rule)
    return maker.choose(
        Query(text="?"),
        specs=SPECS,
        forecasts=POOL,
        cost_scale_usd=1.0,
        draw=0.5,
        outside=None if score is None else outside(score),
    )


def test_inside_nothing_changes() -> None:
    for choice in (choose(None), choose(0.0), choose(0.009), choose(1.0, rule=None)):
        assert choice.chosen.llm == "guess"
        assert [candidate.forecast for candidate in choice.candidates] == POOL
        assert "unlike" not in choice.reason


def test_far_outside_the_llm_that_is_safe_on_average_is_chosen_and_the_reason_says_so() -> None:
    choice = choose(1.0)
    assert choice.chosen.llm == "steady"
    assert choice.reason.endswith("unlike what was learned from, so the safe choice")
    first, second = (candidate.forecast.quality for candidate in choice.candidates)
    assert (first.mean, second.mean) == pytest.approx((0.6, 0.8))
    assert (first.std, second.std) == pytest.approx((np.hypot(0.05, 0.3), np.hypot(0.05, 0.1)))


@given(score=st.floats(0.01, 1.0), more=st.floats(0.01, 1.0))
def test_the_further_outside_the_less_is_believed(score: float, more: float) -> None:
    low, high = sorted((score, more))
    near, far = (RULE.widened(Forecasts.of(POOL), outside(one)) for one in (low, high))
    assert (far.quality_std >= near.quality_std).all()
    assert far.quality[0] <= near.quality[0]
    assert (far.quality >= 0).all()
    np.testing.assert_array_equal(far.cost_usd, near.cost_usd)


@pytest.mark.parametrize(
    "policy",
    [
        UCBPolicy(exploration=10.0),
        ThompsonPolicy(scale=5.0),
        WarmUpPolicy(policy=GreedyPolicy(), judgements=10, share=0.5, bounds=ExplorationBounds()),
    ],
)
def test_far_outside_nothing_is_tried_out(policy: Policy) -> None:
    choice = choose(1.0, policy=policy)
    assert [candidate.propensity for candidate in choice.candidates] == pytest.approx([0.0, 1.0])


@given(score=st.floats(0.0, 1.0))
def test_propensities_sum_to_1(score: float) -> None:
    for policy in (SquareCBPolicy(gap_weight=5.0), ThompsonPolicy(scale=1.0), UCBPolicy()):
        choice = choose(score, policy=policy)
        assert sum(candidate.propensity for candidate in choice.candidates) == pytest.approx(1.0)


def test_squarecb_goes_on_logging_what_can_be_evaluated() -> None:
    assert all(candidate.propensity > 0 for candidate in choose(1.0, policy=SquareCBPolicy(gap_weight=5.0)).candidates)


def test_a_named_llm_is_taken_all_the_same() -> None:
    maker = DecisionMaker(weights=ScoreWeights(), policy=GreedyPolicy(), out_of_domain=RULE)
    choice = maker.choose(
        Query(text="?"), specs=SPECS, forecasts=POOL, cost_scale_usd=1.0, draw=0.5, forced="guess", outside=outside(1.0)
    )
    assert choice.chosen.llm == "guess"
    assert choice.chosen.forecast.quality.mean == pytest.approx(0.6)


def test_what_is_ruled_out_stays_ruled_out() -> None:
    maker = DecisionMaker(weights=ScoreWeights(), policy=GreedyPolicy(), out_of_domain=RULE)
    choice = maker.choose(
        Query(text="?", allowed_llms=frozenset({"guess"})),
        specs=SPECS,
        forecasts=POOL,
        cost_scale_usd=1.0,
        draw=0.5,
        outside=outside(1.0),
    )
    assert [candidate.llm for candidate in choice.candidates] == ["guess"]


@pytest.mark.parametrize(
    ("name", "value"), [("shrinkage", 1.5), ("widening", -1.0), ("threshold", float("nan")), ("pessimism", -0.1)]
)
def test_bad_values_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=name):
        OutOfDomainRule(**{name: value})
