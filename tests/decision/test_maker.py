"""The decision maker: constraints, scores, policy and draw together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.decision.forecasts import forecast

from mixllm.decision import (
    Choice,
    DecisionMaker,
    GreedyPolicy,
    ScoreWeights,
    SquareCBPolicy,
    ThompsonPolicy,
    UCBPolicy,
    score,
)
from mixllm.decision.maker import FORCED
from mixllm.errors import InvalidValueError, NoEligibleLLMError, PoolBusyError, UnknownLLMError
from mixllm.interfaces import Policy
from mixllm.types import Capability, Forecast, Hold, LLMSpec, Query

SPECS = [LLMSpec(name=name) for name in ("small", "middle", "large")]
POOL = [
    forecast(quality=0.5, cost_usd=1e-4),
    forecast(quality=0.7, cost_usd=1e-3),
    forecast(quality=0.9, cost_usd=1e-2),
]


def choose(
    query: Query | None = None,
    *,
    policy: Policy | None = None,
    weights: ScoreWeights | None = None,
    specs: Sequence[LLMSpec] = SPECS,
    forecasts: Sequence[Forecast] = POOL,
    draw: float = 0.5,
    forced: str | None = None,
) -> Choice:
    maker = DecisionMaker(weights=weights or ScoreWeights(), policy=policy or SquareCBPolicy(gap_weight=3.0))
    return maker.choose(
        query or Query(text="hi"), specs=specs, forecasts=forecasts, cost_scale_usd=1e-2, draw=draw, forced=forced
    )


def test_parameters_reach_their_attributes() -> None:
    weights, policy = ScoreWeights(trade_off=2.0), GreedyPolicy()
    maker = DecisionMaker(weights=weights, policy=policy)
    assert (maker.weights, maker.policy) == (weights, policy)


def test_candidates_carry_forecast_score_and_propensity() -> None:
    choice = choose()
    scores, stds = score(POOL, weights=ScoreWeights(), cost_scale_usd=1e-2)
    propensities = SquareCBPolicy(gap_weight=3.0).propensities(scores=scores, stds=stds, forecasts=POOL)
    assert [candidate.llm for candidate in choice.candidates] == ["small", "middle", "large"]
    assert [candidate.forecast for candidate in choice.candidates] == POOL
    assert [candidate.score for candidate in choice.candidates] == scores.tolist()
    assert [candidate.propensity for candidate in choice.candidates] == propensities.tolist()
    assert choice.chosen in choice.candidates
    assert choice.ineligible == ()
    assert (choice.policy, choice.trade_off) == ("squarecb", 1.4)


@pytest.mark.parametrize("policy", [SquareCBPolicy(gap_weight=3.0), ThompsonPolicy(scale=2.0), UCBPolicy()])
def test_draws_match_propensities_in_frequency(policy: Policy) -> None:
    rng = np.random.default_rng(0)
    draws = 4_000
    counts = Counter(choose(policy=policy, draw=float(rng.random())).chosen.llm for _ in range(draws))
    for candidate in choose(policy=policy).candidates:
        tolerance = 4 * math.sqrt(max(candidate.propensity * (1 - candidate.propensity), 1e-12) / draws)
        assert counts[candidate.llm] / draws == pytest.approx(candidate.propensity, abs=tolerance)


def test_draws_partition_the_unit_interval() -> None:
    choices = [choose(draw=draw) for draw in np.linspace(0, 1, 500, endpoint=False)]
    names = [choice.chosen.llm for choice in choices]
    assert names == sorted(names, key=["small", "middle", "large"].index)
    edge = choices[0].candidates[0].propensity
    assert choose(draw=edge - 1e-9).chosen.llm == "small"
    assert choose(draw=edge + 1e-9).chosen.llm == "middle"


class Fixed:
    """A policy that gives what it is told, as rounding might leave it."""

    name = "fixed"

    def __init__(self, propensities: list[float]) -> None:
        self._propensities = np.array(propensities)

    def propensities(
        self, *, scores: NDArray[np.float64], stds: NDArray[np.float64], forecasts: Sequence[Forecast]
    ) -> NDArray[np.float64]:
        return self._propensities


@pytest.mark.parametrize("draw", [0.0, 1e-300, 0.3, 0.999999, math.nextafter(1, 0)])
@pytest.mark.parametrize(
    "propensities",
    [
        [0.0, 1.0, 0.0],
        [0.0, 0.3, 0.7],
        [0.3, 0.7, 0.0],
        [0.0, 0.1 + 0.2, 0.7],
        [1 / 3, 1 / 3, 1 / 3],
        [1e-17, 1.0, 0.0],
    ],
)
def test_a_candidate_of_probability_0_is_never_chosen(propensities: list[float], draw: float) -> None:
    assert choose(policy=Fixed(propensities), draw=draw).chosen.propensity > 0


def test_the_smallest_draw_takes_the_first_possible() -> None:
    assert choose(policy=Fixed([0.0, 0.3, 0.7]), draw=0.0).chosen.llm == "middle"
    assert choose(policy=Fixed([0.3, 0.7, 0.0]), draw=math.nextafter(1, 0)).chosen.llm == "middle"


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda weights: sum(weights) > 1e-6),
    st.floats(0, 1, exclude_max=True),
)
def test_any_draw_from_any_propensities_chooses_a_possible_one(weights: list[float], draw: float) -> None:
    propensities = (np.array(weights) / sum(weights)).tolist()
    assert choose(policy=Fixed(propensities), draw=draw).chosen.propensity > 0


def test_constraints_come_before_scores() -> None:
    choice = choose(Query(text="hi", max_cost_usd=5e-3), policy=GreedyPolicy(), weights=ScoreWeights(trade_off=1e6))
    assert choice.chosen.llm == "middle"
    assert [(one.llm, one.reason) for one in choice.ineligible] == [
        ("large", "expected cost $0.010000 is above the limit of $0.005000")
    ]
    assert [candidate.llm for candidate in choice.candidates] == ["small", "middle"]


def test_no_eligible_llm_says_why_for_each() -> None:
    specs = [
        LLMSpec(name="small", context_window=10),
        LLMSpec(name="middle", capabilities=frozenset()),
        LLMSpec(name="large"),
    ]
    query = Query(text="hi", needs=frozenset({Capability.JSON}), tokens_in=100, max_cost_usd=1e-3)
    with pytest.raises(NoEligibleLLMError) as caught:
        choose(query, specs=specs)
    assert caught.value.reasons == {
        "small": "context window of 10 tokens is too small for 101",
        "middle": "cannot do json",
        "large": "expected cost $0.010000 is above the limit of $0.001000",
    }
    for name, reason in caught.value.reasons.items():
        assert f"{name}: {reason}" in str(caught.value)
    assert "Relax the constraint" in str(caught.value)


def test_an_empty_pool_says_what_to_do() -> None:
    with pytest.raises(NoEligibleLLMError, match=r"The pool is empty\. Add an LLM"):
        choose(specs=[], forecasts=[])


def test_a_forced_llm_is_taken_whatever_the_constraints_say() -> None:
    query = Query(text="hi", allowed_llms=frozenset({"small"}), max_cost_usd=0.0, trade_off=0.5)
    choice = choose(query, forced="large", draw=0.0)
    assert choice.chosen.llm == "large"
    assert choice.candidates == (choice.chosen,)
    assert choice.chosen.propensity == 1.0
    assert choice.ineligible == ()
    assert (choice.policy, choice.trade_off, choice.reason) == (FORCED, 0.5, "the request names this LLM")


def test_a_forced_llm_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownLLMError, match=r"Did you mean 'large'\?"):
        choose(forced="lagre")


def test_the_querys_own_trade_off_goes_first() -> None:
    cheap = choose(Query(text="hi", trade_off=0.0), policy=GreedyPolicy())
    good = choose(Query(text="hi", trade_off=100.0), policy=GreedyPolicy())
    assert (cheap.chosen.llm, cheap.trade_off) == ("small", 0.0)
    assert (good.chosen.llm, good.trade_off) == ("large", 100.0)
    assert choose(policy=GreedyPolicy()).trade_off == 1.4


def test_the_querys_own_trade_off_leaves_the_other_weights() -> None:
    weights = ScoreWeights(trade_off=5.0, wait_weight=0.7, wait_steepness_per_s=0.3, wait_onset=0.2, deadline_s=9.0)
    direct = ScoreWeights(trade_off=2.0, wait_weight=0.7, wait_steepness_per_s=0.3, wait_onset=0.2, deadline_s=9.0)
    choice = choose(Query(text="hi", trade_off=2.0), weights=weights)
    expected = score(POOL, weights=direct, cost_scale_usd=1e-2)[0]
    assert [candidate.score for candidate in choice.candidates] == expected.tolist()


def test_the_querys_own_deadline_goes_first() -> None:
    weights = ScoreWeights(trade_off=5.0, deadline_s=60.0)
    late = [forecast(quality=0.5, latency_s=5.0), forecast(quality=0.6, latency_s=40.0), POOL[0]]
    assert choose(weights=weights, policy=GreedyPolicy(), forecasts=late).chosen.llm == "middle"
    hurried = choose(Query(text="hi", deadline_s=10.0), weights=weights, policy=GreedyPolicy(), forecasts=late)
    expected = score(late, weights=ScoreWeights(trade_off=5.0, deadline_s=10.0), cost_scale_usd=1e-2)[0]
    assert [candidate.score for candidate in hurried.candidates] == expected.tolist()
    assert hurried.chosen.llm != "middle"


def test_reasons_are_told() -> None:
    assert choose(Query(text="hi", allowed_llms=frozenset({"small"}))).reason == "the only eligible LLM"
    assert "best score" in choose(policy=GreedyPolicy()).reason
    assert "of 3 (greedy)" in choose(policy=GreedyPolicy()).reason
    explored = choose(policy=Fixed([0.2, 0.0, 0.8]), draw=0.1)
    assert explored.reason.startswith("explored (fixed)")
    assert "p=0.200" in explored.reason


def test_specs_and_forecasts_must_pair() -> None:
    with pytest.raises(ValueError, match="zip"):
        choose(forecasts=POOL[:2])


def test_a_trade_off_out_of_range_never_reaches_the_maker() -> None:
    with pytest.raises(InvalidValueError, match="trade_off must be"):
        Query(text="hi", trade_off=-1.0)


HOLD = Hold(wait_s=7.0, reason="used up")


def busy_choice(
    query: Query,
    holds: Sequence[Hold | None] | None,
    waits_s: Sequence[float] = (0.0, 0.0, 0.0),
    forced: str | None = None,
) -> Choice:
    maker = DecisionMaker(weights=ScoreWeights(), policy=GreedyPolicy(), max_wait_s=5.0)
    forecasts = [msgspec.structs.replace(one, wait_s=wait_s) for one, wait_s in zip(POOL, waits_s, strict=True)]
    return maker.choose(
        query, specs=SPECS, forecasts=forecasts, cost_scale_usd=1e-2, draw=0.5, forced=forced, holds=holds
    )


def test_what_takes_no_call_now_is_no_candidate() -> None:
    choice = busy_choice(Query(text="hi"), [HOLD, None, None], (0.0, 6.0, 5.0))
    assert [candidate.llm for candidate in choice.candidates] == ["large"]
    assert [refused.reason for refused in choice.ineligible] == [
        "used up",
        "its queue is full: expected wait of 6.0 s is above the limit of 5.0 s",
    ]


def test_where_waiting_helps_the_error_says_how_long() -> None:
    with pytest.raises(PoolBusyError) as caught:
        busy_choice(Query(text="hi"), [HOLD, None, HOLD], (0.0, 9.0, 0.0))
    assert caught.value.retry_after_s == 4.0
    assert list(caught.value.reasons) == ["small", "middle", "large"]


def test_waiting_for_llms_that_cannot_take_it_helps_nobody() -> None:
    query = Query(text="hi", needs=frozenset({Capability.VISION}))
    with pytest.raises(NoEligibleLLMError) as caught:
        busy_choice(query, [HOLD, HOLD, HOLD])
    assert not isinstance(caught.value, PoolBusyError)
    allowed = Query(text="hi", allowed_llms=frozenset({"small"}))
    with pytest.raises(PoolBusyError) as busy:
        busy_choice(allowed, [HOLD, None, None])
    assert busy.value.retry_after_s == 7.0


def test_a_named_llm_that_takes_no_call_now_is_said_alone() -> None:
    assert busy_choice(Query(text="hi"), [None, HOLD, HOLD], forced="small").chosen.llm == "small"
    with pytest.raises(PoolBusyError) as caught:
        busy_choice(Query(text="hi"), [None, HOLD, HOLD], forced="large")
    assert caught.value.reasons == {"large": "used up"}
    endless = Hold(wait_s=math.inf, reason="never")
    with pytest.raises(NoEligibleLLMError) as never:
        busy_choice(Query(text="hi"), [endless, None, None], forced="small")
    assert not isinstance(never.value, PoolBusyError)


@pytest.mark.parametrize("max_wait_s", [0.0, -1.0, math.nan])
def test_a_bound_on_waiting_is_positive(max_wait_s: float) -> None:
    with pytest.raises(InvalidValueError, match="max_wait_s"):
        DecisionMaker(weights=ScoreWeights(), policy=GreedyPolicy(), max_wait_s=max_wait_s)


@given(
    waits_s=st.lists(st.floats(0.0, 20.0), min_size=3, max_size=3),
    holds=st.lists(st.one_of(st.none(), st.floats(0.1, 60.0)), min_size=3, max_size=3),
)
def test_no_choice_is_busy_and_a_busy_pool_names_the_first_to_be_free(
    waits_s: list[float], holds: list[float | None]
) -> None:
    given_holds = [None if wait_s is None else Hold(wait_s=wait_s, reason="x") for wait_s in holds]
    free_s = [
        max(wait_s - 5.0, 0.0) if held is None else held.wait_s
        for wait_s, held in zip(waits_s, given_holds, strict=True)
    ]
    try:
        choice = busy_choice(Query(text="hi"), given_holds, waits_s)
    except PoolBusyError as error:
        first = error.retry_after_s
    else:
        first = 0.0
        assert free_s[[spec.name for spec in SPECS].index(choice.chosen.llm)] == 0.0
    assert first == min(free_s)
