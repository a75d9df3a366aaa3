"""The price of a limit on cost relative to one LLM: it holds the ratio of the mean costs, on planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixllm.decision import Pacer, ScoreWeights, SharePacer
from mixllm.errors import InvalidValueError


def test_parameters_reach_their_attributes() -> None:
    weights = ScoreWeights(caution=0.5)
    pacer = SharePacer(share=0.5, weights=weights, pacer=lambda: Pacer(step=0.5))
    assert (pacer.share, pacer.weights, pacer.pacer().step) == (0.5, weights, 0.5)
    for share in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(InvalidValueError, match="share"):
            SharePacer(share=share)


def test_what_costs_as_much_as_it_may_changes_nothing() -> None:
    pacer = SharePacer(share=0.25)
    for length in (1.0, 3.0, 0.1) * 50:  # Dear and cheap queries alike.
        pacer.decided(0.25 * length, reference_usd=length, scale_usd=1.0, judgements=0)
    assert pacer.cost_weight == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_dollars_are_paced_like_cents(calls: list[tuple[float, float]], share: float) -> None:
    weights = []
    for unit in (1.0, 1e-4):
        pacer = SharePacer(share=share)
        for usd, reference_usd in calls:
            pacer.decided(usd * unit, reference_usd=reference_usd * unit, scale_usd=unit, judgements=0)
        weights.append(pacer.cost_weight)
    assert 1.0 <= weights[0] <= 1000.0 * (1 + 1e-9)
    assert weights[1] == pytest.approx(weights[0], rel=1e-6)


def test_caution_allows_more_while_little_is_known() -> None:
    pacer = SharePacer(share=0.4, weights=ScoreWeights(caution=1.0, caution_judgements=100.0))
    assert pacer.limit(0) == pytest.approx(0.8)
    assert pacer.limit(1e6) == pytest.approx(0.4)
    assert SharePacer(share=0.8, weights=ScoreWeights(caution=1.0)).limit(0) == 1.0


def test_a_forecast_that_is_too_low_is_made_up_for() -> None:
    # Everything costs twice what is expected: without the measured costs it would stay at 1.
    pacer = SharePacer(share=0.5)
    for _ in range(100):
        pacer.decided(0.5, reference_usd=1.0, scale_usd=1.0, judgements=0)
        pacer.corrected(0.5, scale_usd=1.0, judgements=0)
    assert pacer.cost_weight > 2


@pytest.mark.parametrize("share", [0.2, 0.35, 0.6])
def test_it_holds_the_ratio_of_the_means_on_planted_truth(share: float) -> None:
    # Two LLMs, the reference ten times as dear; what it does better differs by query, and forecasts of cost are wrong.
    rng = np.random.default_rng(0)
    pacer, trade_off = SharePacer(share=share), 100.0
    spent = reference = 0.0
    late: list[float] = []
    for number in range(4000):
        length = float(rng.lognormal(0.0, 0.7))
        gain = float(rng.uniform(0.0, 0.3))
        dear = trade_off / pacer.cost_weight * gain > 0.9 * length
        expected, measured = (1.0 if dear else 0.1) * length * 0.8, (1.0 if dear else 0.1) * length
        pacer.decided(expected, reference_usd=length, scale_usd=1.28, judgements=number)
        late.append(measured - expected)
        if number % 20 == 19:  # Known late, and in a bunch.
            for difference in late:
                pacer.corrected(difference, scale_usd=1.28, judgements=number)
            late.clear()
        if number >= 1000:
            spent, reference = spent + measured, reference + length
    assert spent / reference == pytest.approx(share, abs=0.02)


def test_a_share_out_of_reach_is_told() -> None:
    pacer = SharePacer(share=0.1)
    for _ in range(3000):
        pacer.decided(0.5, reference_usd=1.0, scale_usd=1.0, judgements=0)
    assert pacer.out_of_reach
