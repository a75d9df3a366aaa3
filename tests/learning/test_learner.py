"""The learner finds a planted truth, never stops, never learns twice, and refuses what does not fit."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from tests.learning.learners import forecasts, make, same
from tests.learning.world import (
    DIMENSION,
    SPECS,
    PlainFeatures,
    World,
    events,
    feedback_event,
    outcome_event,
    spec,
)

from mixllm.decision import DecisionMaker, GreedyPolicy, ScoreWeights, SquareCBPolicy, ThompsonPolicy, WarmUpPolicy
from mixllm.interfaces import Policy
from mixllm.learning import Learner, Recipe
from mixllm.types import LearningEvent, Outcome, OutcomeStatus, Query


def test_parameters_reach_their_attributes() -> None:
    features, recipe = PlainFeatures(), Recipe(prior_tokens_out=77.0)
    learner = Learner(features=features, encoding_dimension=DIMENSION, specs=SPECS, recipe=recipe, reference="middle")
    assert learner.features is features
    assert learner.encoding_dimension == DIMENSION
    assert learner.recipe is recipe
    assert learner.reference == "middle"
    assert learner.llms == ("small", "middle", "large")
    assert (learner.position, learner.version) == (0, 0)
    assert make().recipe == Recipe()


# --- a planted truth --------------------------------------------------------------------------------------------------


def test_it_converges_to_the_truth() -> None:
    world, learner = World(1), make()
    learner.learn(events(world, 6_000))
    errors, lengths = [], []
    for _ in range(60):
        x = world.encoding()
        for name, forecast in forecasts(learner, x).items():
            errors.append(forecast.quality.mean - world.quality(name, x))
            truth = math.exp(world.log_lengths[name] + 0.5 * x[0] + 0.2**2 / 2)
            lengths.append(forecast.tokens_out.mean / truth - 1)
            assert forecast.latency_s.mean == pytest.approx(0.5 + 0.01 * forecast.tokens_out.mean, rel=0.1)
    assert np.sqrt(np.mean(np.square(errors))) < 0.025
    assert np.sqrt(np.mean(np.square(lengths))) < 0.06
    assert abs(np.mean(lengths)) < 0.02, "lengths are not biased"


def test_what_it_does_not_know_it_says() -> None:
    world, learner = World(2), make()
    x = world.encoding()
    cold = forecasts(learner, x)
    learner.learn([feedback_event(seq, "small", world.encoding(), 0.5) for seq in range(1, 400)])
    warm = forecasts(learner, x)
    assert warm["small"].quality.std < 0.5 * cold["small"].quality.std
    assert warm["large"].quality.std == pytest.approx(cold["large"].quality.std, rel=1e-6)
    assert (warm["small"].judgements, warm["large"].judgements) == (399.0, 0.0)


def test_learning_does_not_stop_after_thousands() -> None:
    """LiteLLM's adaptive router stopped silently after 200 samples."""
    world, learner = World(3), make(answers_per_false_alarm=0)
    x = world.encoding()
    learner.learn([feedback_event(seq, "small", x, 0.9) for seq in range(1, 3_001)])
    before = forecasts(learner, x)["small"].quality.mean
    learner.learn([feedback_event(seq, "small", x, 0.1) for seq in range(3_001, 12_001)])
    after = forecasts(learner, x)["small"].quality.mean
    assert before > 0.85
    assert after == pytest.approx(0.3, abs=0.03), "the mean of everything"
    assert learner.counts.feedback == 12_000


@pytest.mark.parametrize(
    "policy",
    [
        WarmUpPolicy(policy=GreedyPolicy(), judgements=25, share=0.5),
        SquareCBPolicy(gap_weight=150.0),
        ThompsonPolicy(),
    ],
    ids=["greedy after a warm-up", "squarecb", "thompson"],
)
def test_a_bandit_on_it_beats_every_single_llm(policy: Policy) -> None:
    world, learner = World(4), make([spec(name, 1.0) for name in ("small", "middle", "large")])
    for name in world.levels:
        world.levels[name] = 0.5
        world.slopes[name] *= 4.0
    maker = DecisionMaker(weights=ScoreWeights(trade_off=1e6), policy=policy)
    snapshot, pending, regrets, spreads = learner.snapshot(), [], [], []
    for seq in range(1, 1_501):
        x = world.encoding()
        choice = maker.choose(
            Query(text="q"),
            specs=snapshot.specs,
            forecasts=snapshot.forecasts(learner.features.features(x), tokens_in=300),
            cost_scale_usd=snapshot.cost_scale_usd,
            draw=float(world.rng.random()),
        )
        truth = {name: world.quality(name, x) for name in world.levels}
        regrets.append(max(truth.values()) - truth[choice.chosen.llm])
        spreads.append([max(truth.values()) - truth[name] for name in truth])
        pending.append(feedback_event(seq, choice.chosen.llm, x, world.judged(choice.chosen.llm, x)))
        if seq % 25 == 0:
            learner.learn(pending)
            snapshot, pending = learner.snapshot(), []
    best_single = np.mean(spreads[-500:], axis=0).min()
    assert np.mean(regrets[-500:]) < 0.35 * best_single
    assert np.mean(regrets[-500:]) < 0.6 * np.mean(regrets[:300])


# --- once, and only what fits -----------------------------------------------------------------------------------------


def test_the_same_event_never_teaches_twice() -> None:
    world = World(5)
    batch = events(world, 40)
    once, often = make(), make()
    assert once.learn(batch) == 40
    assert often.learn(batch) == 40
    assert often.learn(batch) == 0
    assert often.learn(batch[10:]) == 0
    assert often.position == 40
    assert same(once.checkpoint(), often.checkpoint())


def test_an_event_twice_in_one_batch_teaches_once() -> None:
    world = World(5)
    batch = events(world, 20)
    once, doubled = make(), make()
    once.learn(batch)
    assert doubled.learn([event for event in batch for _ in range(2)]) == 20
    assert same(once.checkpoint(), doubled.checkpoint())


def test_the_position_never_goes_back() -> None:
    world = World(6)
    batch = events(world, 3)
    learner = make()
    assert learner.learn([batch[2], batch[0], batch[1]]) == 1
    assert learner.position == 3
    assert learner.learn(batch) == 0


@pytest.mark.parametrize(
    "encoding",
    [
        b"",
        b"\0" * (4 * DIMENSION - 1),
        b"\0" * (4 * DIMENSION - 4),
        b"\0" * (4 * DIMENSION + 4),
        b"\0" * 1_000_000,
        np.full(DIMENSION, np.nan, "<f4").tobytes(),
        np.full(DIMENSION, np.inf, "<f4").tobytes(),
        np.full(DIMENSION, 1e30, "<f4").tobytes(),
    ],
    ids=["empty", "odd", "short", "long", "huge", "nan", "inf", "far out"],
)
def test_encodings_that_do_not_fit_are_refused_and_counted(encoding: bytes) -> None:
    world, learner = World(7), make()
    learner.learn(events(world, 10))
    before = learner.checkpoint()
    x = world.encoding()
    for event in (feedback_event(11, "small", x, 0.5), outcome_event(12, "small", x, world.outcome("small", x))):
        assert learner.learn([msgspec.structs.replace(event, encoding=encoding)]) == 1
    assert same(learner.checkpoint(), before)
    assert learner.counts.refused == 2
    assert learner.position == 12, "it does not come back for ever"
    learner.learn(events(world, 10, first=13))
    assert not same(learner.checkpoint(), before)


def test_an_event_with_impossible_values_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    world, learner = World(8), make()
    x = world.encoding()
    bad = world.outcome("small", x)
    msgspec.structs.force_setattr(bad, "tokens_out", -5)
    assert learner.learn([outcome_event(1, "small", x, bad), *events(world, 9, first=2)]) == 10
    assert learner.counts.refused == 1
    assert learner.counts.outcomes + learner.counts.feedback == 9
    assert "cannot be learned from" in caplog.text


def test_what_teaches_nothing_is_ignored_and_counted() -> None:
    world, learner = World(9), make()
    x = world.encoding()
    idle: list[LearningEvent] = [
        feedback_event(1, "never heard of", x, 0.5),
        outcome_event(2, "never heard of", x, world.outcome("small", x)),
        feedback_event(3, "small", x, 0.5, metric="politeness"),
        outcome_event(4, "small", x, Outcome(tokens_out=None, latency_s=1.0)),
        *[
            outcome_event(5 + place, "small", x, Outcome(status=status, tokens_out=10_000, latency_s=900.0))
            for place, status in enumerate(OutcomeStatus)
            if status is not OutcomeStatus.OK
        ],
    ]
    before = learner.checkpoint()
    learner.learn(idle)
    assert same(learner.checkpoint(), before)
    assert learner.counts.ignored == len(idle)
    assert learner.counts.refused == learner.counts.outcomes == learner.counts.feedback == 0


def test_an_outcome_without_a_time_teaches_length_alone() -> None:
    world, learner = World(9), make()
    x = world.encoding()
    before = learner.checkpoint().arrays
    learner.learn([outcome_event(1, "small", x, Outcome(tokens_out=500))])
    after = learner.checkpoint().arrays
    changed = {
        name.split(".")[1] for name in after if name != "scale" and not np.array_equal(before[name], after[name])
    }
    assert changed == {"length"}
    assert learner.counts.outcomes == 1
