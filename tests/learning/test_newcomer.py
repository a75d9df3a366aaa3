"""What is expected of an LLM that nobody has judged: the rule, what the pool measured, and an honest spread."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.learning.learners import forecasts, make
from tests.learning.world import SPECS, World, events, feedback_event, spec

from mixllm.learning import Recipe
from mixllm.learning.newcomer import Measured, expected_of_newcomer
from mixllm.types import LLMSpec, Price

RECIPE = Recipe()


def scored(name: str, usd: float, score: float) -> LLMSpec:
    return LLMSpec(
        name=name,
        price=Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd),
        public_score=score,
    )


def known(usd: float, quality: float, *, score: float | None = None, variance: float = 1e-4) -> Measured:
    price = Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd)
    return Measured(price=price, public_score=score, quality=quality, variance=variance)


def rule(usd: float) -> float:
    return RECIPE.level_from_price(Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd))


@given(usd=st.floats(1e-4, 1e4), others=st.lists(st.floats(1e-4, 1e4), max_size=5))
def test_where_nobody_was_judged_the_rule_alone_counts(usd: float, others: list[float]) -> None:
    pool = [known(other, 0.5, variance=math.inf) for other in others]
    expected = expected_of_newcomer(spec("new", usd), pool=pool, recipe=RECIPE)
    assert (expected.quality, expected.precision) == (rule(usd), RECIPE.level_precision)


def test_a_pool_that_is_better_than_its_prices_lifts_a_newcomer() -> None:
    pool = [known(usd, rule(usd) + 0.1) for usd in (0.1, 0.3, 0.6, 1.0)]
    expected = expected_of_newcomer(spec("new", 0.4), pool=pool, recipe=RECIPE)
    assert rule(0.4) + 0.05 < expected.quality < rule(0.4) + 0.12


def test_the_spread_is_wide_where_the_pool_scatters_and_narrow_where_it_does_not() -> None:
    usds = (0.1, 0.2, 0.4, 0.8, 1.0, 2.0)
    orderly = [known(usd, rule(usd)) for usd in usds]
    scattered = [known(usd, rule(usd) + (0.3 if place % 2 else -0.3)) for place, usd in enumerate(usds)]
    narrow = expected_of_newcomer(spec("new", 0.5), pool=orderly, recipe=RECIPE).precision ** -0.5
    wide = expected_of_newcomer(spec("new", 0.5), pool=scattered, recipe=RECIPE).precision ** -0.5
    assert narrow < 0.1 < 0.2 < wide
    far = expected_of_newcomer(spec("new", 5e3), pool=orderly, recipe=RECIPE).precision ** -0.5
    assert far > 1.5 * narrow, "unlike all others"


def test_the_stated_spread_covers_what_newcomers_turn_out_to_be() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(300):
        scatter = rng.uniform(0.03, 0.2)
        usds = 10 ** rng.uniform(-1, 0.3, 9)
        truth = np.array([rule(usd) for usd in usds]) + rng.normal(0, 0.1) + rng.normal(0, scatter, 9)
        pool = [known(usd, quality) for usd, quality in zip(usds[:-1], truth[:-1], strict=True)]
        expected = expected_of_newcomer(spec("new", usds[-1]), pool=pool, recipe=RECIPE)
        inside += abs(min(1.0, truth[-1]) - expected.quality) < 1.96 * expected.precision**-0.5
    assert 0.9 < inside / 300 < 0.995


def test_public_scores_shift_what_is_expected() -> None:
    pool = [known(1.0, 0.5 + 0.4 * score, score=score) for score in (0.2, 0.4, 0.6, 0.8)]
    low, high = (expected_of_newcomer(scored("new", 1.0, score), pool=pool, recipe=RECIPE) for score in (0.3, 0.7))
    without = expected_of_newcomer(spec("new", 1.0), pool=pool, recipe=RECIPE)
    assert 0.1 < high.quality - low.quality < 0.22
    assert low.quality < without.quality < high.quality
    assert without.precision == pytest.approx(high.precision, rel=0.5)


def test_a_score_that_is_alone_shifts_nothing_and_without_judgements_the_recipe_says_how_much() -> None:
    assert expected_of_newcomer(scored("new", 0.3, 0.9), pool=[], recipe=RECIPE).quality == rule(0.3)
    learner = make([scored("weak", 0.3, 0.4), scored("strong", 0.3, 0.8)])
    x = World(0).encoding()
    made = forecasts(learner, x)
    rise = made["strong"].quality.mean - made["weak"].quality.mean
    assert rise == pytest.approx(RECIPE.quality_per_public_score * 0.4, abs=1e-6)


@given(
    qualities=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    variances=st.lists(st.floats(1e-9, 1e3), min_size=30, max_size=30),
    usd=st.floats(0, 1e6),
)
def test_the_expectation_is_always_a_quality(qualities: list[float], variances: list[float], usd: float) -> None:
    pool = [
        known(10.0**place, quality, variance=variance)
        for place, (quality, variance) in enumerate(zip(qualities, variances, strict=False), start=-15)
    ]
    expected = expected_of_newcomer(spec("new", usd), pool=pool, recipe=RECIPE)
    assert 0 <= expected.quality <= 1
    assert 0.02 < expected.precision**-0.5 < 0.51


def test_a_newcomer_is_expected_to_be_what_the_pool_measured_on_average() -> None:
    world, learner = World(20), make()
    learner.learn(events(world, 3_000))
    queries = [world.encoding() for _ in range(200)]
    learner.put_llm(spec("new", 1.0))
    mean = np.mean([forecasts(learner, x)["new"].quality.mean for x in queries])
    truth = np.mean([world.quality("middle", x) for x in queries])
    assert abs(mean - truth) < 0.12 < abs(rule(1.0) - truth)


def test_llms_that_were_never_judged_say_nothing_of_a_newcomer() -> None:
    world, learner, larger = World(21), make(), make([*SPECS, *[spec(f"idle {place}", 3.0) for place in range(20)]])
    batch = events(world, 500)
    learner.learn(batch)
    larger.learn(batch)
    x = world.encoding()
    for made in (learner, larger):
        made.put_llm(spec("new", 3.0))
    one, other = forecasts(learner, x)["new"].quality, forecasts(larger, x)["new"].quality
    assert one.mean == pytest.approx(other.mean, abs=1e-6)
    assert one.std == pytest.approx(other.std, rel=1e-5)


def test_adding_and_removing_leave_every_other_forecast_as_it_was_to_the_bit() -> None:
    world, learner = World(22), make()
    learner.learn(events(world, 700))
    queries = [world.encoding() for _ in range(20)]
    before = [forecasts(learner, x) for x in queries]
    for place in range(9):
        learner.put_llm(spec(f"new {place}", 10.0**place))
        for x, known_before in zip(queries, before, strict=True):
            now = forecasts(learner, x)
            assert {name: now[name] for name in known_before} == known_before
    learner.drop_llm("small")
    for x, known_before in zip(queries, before, strict=True):
        now = forecasts(learner, x)
        assert {name: now[name] for name in ("middle", "large")} == {
            name: known_before[name] for name in ("middle", "large")
        }


def test_who_comes_into_a_judged_pool_is_a_newcomer_and_stays_one_after_a_restart() -> None:
    world, learner = World(24), make()
    x = world.encoding()
    learner.put_llm(spec("early", 1.0))
    learner.learn(events(world, 50))
    learner.put_llm(spec("late", 1.0))
    other = make([*SPECS, spec("later", 1.0)])
    other.restore(learner.checkpoint())
    other.put_llm(spec("early", 1.0))
    other.put_llm(spec("late", 1.0))
    assert {name for name, one in forecasts(learner, x).items() if one.newcomer} == {"late"}
    assert {name for name, one in forecasts(other, x).items() if one.newcomer} == {"late", "later"}
    other.drop_llm("small")
    other.put_llm(SPECS[0])
    assert not forecasts(other, x)["small"].newcomer, "it was there before"


def test_the_level_and_its_precision_outlast_a_restart() -> None:
    world, learner = World(23), make()
    learner.learn(events(world, 500))
    learner.put_llm(spec("new", 2.0))
    other = make([*SPECS, spec("new", 2.0)])
    other.restore(learner.checkpoint())
    x = world.encoding()
    assert forecasts(other, x)["new"].quality.mean == pytest.approx(forecasts(learner, x)["new"].quality.mean, abs=1e-6)
    assert forecasts(other, x)["new"].quality.std == pytest.approx(forecasts(learner, x)["new"].quality.std, rel=1e-5)
    learner.learn([feedback_event(501, "new", x, 0.2)])
    other.learn([feedback_event(501, "new", x, 0.2)])
    assert forecasts(other, x)["new"].quality.mean == pytest.approx(forecasts(learner, x)["new"].quality.mean, abs=1e-6)
