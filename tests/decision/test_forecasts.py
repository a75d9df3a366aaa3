"""Columns and values of forecasts say the same."""

from __future__ import annotations

import gc
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.decision.forecasts import forecast

from mixllm.decision import Forecasts
from mixllm.types import Candidate, Estimate, Forecast

NUMBERS = st.floats(-1e9, 1e9)
ESTIMATES = st.builds(Estimate, mean=NUMBERS, std=NUMBERS)
POOLS = st.lists(
    st.builds(
        Forecast,
        quality=ESTIMATES,
        tokens_out=ESTIMATES,
        cost_usd=ESTIMATES,
        ttft_s=ESTIMATES,
        wait_s=NUMBERS,
        latency_s=ESTIMATES,
        latency_low_s=NUMBERS,
        latency_high_s=NUMBERS,
        latency_tail_s=NUMBERS,
        ttft_tail_s=NUMBERS,
        judgements=NUMBERS,
        spent_usd=NUMBERS,
        newcomer=st.booleans(),
    ),
    max_size=6,
)


def from_columns(pool: list[Forecast]) -> Forecasts:
    """Return the forecasts as the predictors give them: columns alone."""
    known = Forecasts.of(pool)
    return Forecasts(
        quality=known.quality,
        quality_std=known.quality_std,
        tokens_out=known.tokens_out,
        tokens_out_std=known.tokens_out_std,
        cost_usd=known.cost_usd,
        cost_usd_std=known.cost_usd_std,
        ttft_s=known.ttft_s,
        ttft_s_std=known.ttft_s_std,
        wait_s=known.wait_s,
        latency_s=known.latency_s,
        latency_s_std=known.latency_s_std,
        latency_low_s=known.latency_low_s,
        latency_high_s=known.latency_high_s,
        latency_tail_s=known.latency_tail_s,
        ttft_tail_s=known.ttft_tail_s,
        judgements=known.judgements,
        spent_usd=known.spent_usd,
        newcomer=known.newcomer,
    )


@given(pool=POOLS)
def test_values_and_columns_agree(pool: list[Forecast]) -> None:
    made = from_columns(pool)
    assert list(made) == pool
    assert made == pool
    assert made == Forecasts.of(pool)
    assert len(made) == len(pool)
    assert made.latency_s_std.tolist() == [one.latency_s.std for one in pool]
    assert made.judgements.tolist() == [one.judgements for one in pool]


@given(pool=POOLS, draw=st.data())
def test_some_of_them_can_be_taken(pool: list[Forecast], draw: st.DataObject) -> None:
    rows = draw.draw(st.lists(st.integers(0, len(pool) - 1), max_size=4) if pool else st.just([]))
    taken = from_columns(pool).take(rows)
    assert list(taken) == [pool[row] for row in rows]
    assert from_columns(list(taken)) == taken
    assert taken.cost_usd.tolist() == [pool[row].cost_usd.mean for row in rows]


def test_values_are_pythons_numbers_and_made_once() -> None:
    made = from_columns([forecast(), forecast(quality=0.7)])
    assert type(made[1].quality.mean) is float
    assert made[1] is made.values()[1]
    assert made[:1] == (forecast(),)
    assert Forecasts.of(made) is made
    given_values = [forecast()]
    assert Forecasts.of(given_values)[0] is given_values[0]


def test_it_differs_from_what_says_something_else() -> None:
    made = Forecasts.of([forecast()])
    assert made != [forecast(quality=0.6)]
    assert made != [forecast(), forecast()]
    assert made != "forecast"
    with pytest.raises(TypeError):
        hash(made)


def test_columns_of_unequal_length_make_no_values() -> None:
    made = from_columns([forecast(), forecast()])
    uneven = Forecasts(
        **{one.name: getattr(made, one.name) for one in fields(made) if one.init and one.name != "wait_s"},
        wait_s=np.zeros(3),
    )
    with pytest.raises(ValueError, match="zip"):
        uneven.values()


def test_the_garbage_collector_need_not_look_at_them() -> None:
    """A store in memory holds hundreds of thousands, none of which can be part of a cycle."""
    one = forecast()
    assert not gc.is_tracked(one)
    assert not gc.is_tracked(Candidate(llm="a", forecast=one, score=0.0, propensity=1.0))
