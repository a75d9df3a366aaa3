"""The learner finds a planted truth, never stops, never learns twice, and refuses what does not fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest
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
from mixllm.errors import DuplicateLLMError, InvalidValueError, StateError, UnknownLLMError
from mixllm.interfaces import Policy
from mixllm.learning import Checkpoint, Learner, Recipe
from mixllm.types import Forecast, LearningEvent, LLMSpec, Outcome, OutcomeStatus, Query


def make(specs: Sequence[LLMSpec] = SPECS, *, reference: str | None = None, recipe: Recipe | None = None) -> Learner:
    return Learner(
        features=PlainFeatures(), encoding_dimension=DIMENSION, specs=specs, recipe=recipe, reference=reference
    )


def forecasts(
    learner: Learner, x: np.ndarray[tuple[int], np.dtype[np.float32]], *, tokens_in: int = 300
) -> dict[str, Forecast]:
    snapshot = learner.snapshot()
    made = snapshot.forecasts(learner.features.features(x), tokens_in=tokens_in)
    return {one.name: forecast for one, forecast in zip(snapshot.specs, made, strict=True)}


def same(one: Checkpoint, other: Checkpoint) -> bool:
    return one.arrays.keys() == other.arrays.keys() and all(
        np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays
    )


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
    world, learner = World(3), make()
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


# --- the pool ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usd", [0.0, 1e-3, 1e3])
def test_adding_an_llm_moves_no_other(usd: float) -> None:
    """LiteLLM normalises over the current pool: a dear newcomer makes all others look cheap."""
    world, learner = World(10), make()
    learner.learn(events(world, 300))
    queries = [world.encoding() for _ in range(10)]
    before = [forecasts(learner, x) for x in queries]
    scale = learner.snapshot().cost_scale_usd
    learner.put_llm(spec("new", usd))
    after = [forecasts(learner, x) for x in queries]
    assert learner.snapshot().cost_scale_usd == scale
    for old, new in zip(before, after, strict=True):
        for name, forecast in old.items():
            assert new[name].quality.mean == pytest.approx(forecast.quality.mean, abs=1e-6)
            assert new[name].quality.std == pytest.approx(forecast.quality.std, rel=1e-5)
            assert new[name].cost_usd.mean == pytest.approx(forecast.cost_usd.mean, rel=1e-5)
            assert new[name].latency_s.mean == pytest.approx(forecast.latency_s.mean, rel=1e-5)


def test_a_new_llm_starts_from_the_pool_and_is_unsure() -> None:
    world, learner = World(11), make()
    learner.learn(events(world, 4_000))
    learner.put_llm(spec("new", 1.0))
    shape, learned = [], []
    for _ in range(40):
        x = world.encoding()
        made = forecasts(learner, x)
        shape.append(made["new"].quality.mean)
        learned.append(np.mean([made[name].quality.mean for name in ("small", "middle", "large")]))
        assert made["new"].quality.std > 2 * made["middle"].quality.std
    assert np.corrcoef(shape, learned)[0, 1] > 0.9


def test_a_dropped_llm_keeps_what_was_learned_of_it() -> None:
    world, learner = World(12), make()
    learner.learn(events(world, 400))
    x = world.encoding()
    before = forecasts(learner, x)
    learner.drop_llm("small")
    assert learner.llms == ("middle", "large")
    assert learner.snapshot().specs == SPECS[1:]
    assert forecasts(learner, x)["large"].quality.mean == pytest.approx(before["large"].quality.mean, abs=1e-6)
    learner.put_llm(SPECS[0])
    back = forecasts(learner, x)
    assert back.keys() == before.keys()
    assert back["small"] == before["small"]


def test_a_dropped_llm_goes_on_learning_from_late_feedback() -> None:
    world, learner = World(13), make()
    x = world.encoding()
    before = forecasts(learner, x)["small"].quality.mean
    learner.drop_llm("small")
    learner.learn([feedback_event(seq, "small", x, 0.0) for seq in range(1, 50)])
    learner.put_llm(SPECS[0])
    assert forecasts(learner, x)["small"].quality.mean < before - 0.1
    assert forecasts(learner, x)["small"].judgements == 49.0


def test_an_llm_put_again_has_its_new_price() -> None:
    learner = make()
    x = World(1).encoding()
    old = forecasts(learner, x)["small"]
    learner.put_llm(spec("small", 7.0))
    new = forecasts(learner, x)["small"]
    assert new.cost_usd.mean == pytest.approx(70 * old.cost_usd.mean)
    assert new.quality == old.quality
    assert learner.llms == ("small", "middle", "large")
    price = learner.price("small")
    assert price is not None
    assert price.usd_per_million_tokens_in == 7.0


def test_prices_outlast_the_pool() -> None:
    learner = make()
    learner.drop_llm("large")
    price = learner.price("large")
    assert price is not None
    assert price.usd_per_million_tokens_out == 10.0
    assert learner.price("never heard of") is None


def test_mistakes_in_the_pool_are_refused() -> None:
    with pytest.raises(DuplicateLLMError, match="'small'"):
        make([SPECS[0], SPECS[1], spec("small", 3.0)])
    with pytest.raises(InvalidValueError, match="price must be given for LLM 'x'"):
        make([LLMSpec(name="x")])
    learner = make()
    with pytest.raises(InvalidValueError, match="price must be given"):
        learner.put_llm(LLMSpec(name="x"))
    with pytest.raises(UnknownLLMError, match="Did you mean 'small'"):
        learner.drop_llm("smal")
    assert learner.llms == ("small", "middle", "large")
    with pytest.raises(InvalidValueError, match="encoding_dimension must be >= 1"):
        Learner(features=PlainFeatures(), encoding_dimension=0)


# --- the scale of cost ------------------------------------------------------------------------------------------------


def test_the_dearest_is_the_reference_and_stays_it() -> None:
    learner = make()
    assert learner.reference == "large"
    scale = learner.snapshot().cost_scale_usd
    assert scale == pytest.approx(10e-6 * (200 + 200))
    learner.put_llm(spec("dearer", 1e3))
    assert (learner.reference, learner.snapshot().cost_scale_usd) == ("large", scale)
    learner.drop_llm("large")
    assert (learner.reference, learner.snapshot().cost_scale_usd) == ("large", scale)


def test_the_reference_can_be_given() -> None:
    learner = make(reference="small")
    assert learner.reference == "small"
    assert learner.snapshot().cost_scale_usd == pytest.approx(0.1e-6 * 400)


def test_without_a_pool_the_first_that_comes_is_the_reference() -> None:
    learner = make([])
    assert learner.snapshot().cost_scale_usd == 1.0
    learner.put_llm(SPECS[1])
    learner.put_llm(SPECS[2])
    assert learner.reference == "middle"


def test_a_free_reference_still_has_a_scale() -> None:
    learner = make([spec("free", 0.0)])
    assert learner.snapshot().cost_scale_usd > 0


def test_the_scale_follows_the_traffic() -> None:
    world, learner = World(14), make()
    x = world.encoding()
    long_answers = Outcome(tokens_in=2_000, tokens_out=3_000)
    learner.learn([outcome_event(seq, "small", x, long_answers, tokens_in=2_000) for seq in range(1, 3_000)])
    assert learner.snapshot().cost_scale_usd == pytest.approx(10e-6 * 5_000, rel=0.02)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_restores_everything() -> None:
    world, learner = World(15), make()
    learner.learn(events(world, 500))
    learner.drop_llm("small")
    learner.snapshot()
    other = make()
    other.drop_llm("small")
    other.restore(Checkpoint.from_bytes(learner.checkpoint().to_bytes()))
    assert (other.position, other.version, other.reference) == (500, learner.version, "large")
    assert same(other.checkpoint(), learner.checkpoint())
    for one in (learner, other):
        one.put_llm(SPECS[0])
    x = world.encoding()
    for name, forecast in forecasts(learner, x).items():
        restored = forecasts(other, x)[name]
        assert restored.quality.mean == pytest.approx(forecast.quality.mean, abs=1e-6)
        assert restored.quality.std == pytest.approx(forecast.quality.std, rel=1e-5)
        assert restored.cost_usd.mean == pytest.approx(forecast.cost_usd.mean, rel=1e-5)
        assert restored.latency_s.mean == pytest.approx(forecast.latency_s.mean, rel=1e-5)


def test_learning_goes_on_after_a_checkpoint_as_without() -> None:
    world = World(16)
    batch = events(world, 600)
    straight, resumed = make(), make()
    straight.learn(batch)
    first = make()
    first.learn(batch[:250])
    resumed.restore(first.checkpoint())
    assert resumed.learn(batch) == 350
    x = world.encoding()
    for name, forecast in forecasts(straight, x).items():
        assert forecasts(resumed, x)[name].quality.mean == pytest.approx(forecast.quality.mean, abs=1e-6)
        assert forecasts(resumed, x)[name].cost_usd.mean == pytest.approx(forecast.cost_usd.mean, rel=1e-5)


def test_a_checkpoint_knows_llms_that_left_and_the_pool_those_that_came() -> None:
    world, learner = World(17), make()
    learner.learn(events(world, 200))
    other = make([SPECS[1], spec("new", 2.0)])
    other.restore(learner.checkpoint())
    assert other.llms == ("middle", "new")
    x = world.encoding()
    assert forecasts(other, x)["new"].judgements == 0.0
    assert forecasts(other, x)["middle"].judgements > 0.0
    other.put_llm(SPECS[0])
    assert forecasts(other, x)["small"].judgements > 0.0
    assert other.reference == "large", "the scale of cost is the checkpoint's"


def test_a_given_reference_goes_before_the_checkpoints() -> None:
    learner, other = make(), make(reference="middle")
    other.restore(learner.checkpoint())
    assert other.reference == "middle"


Damage = Callable[[Checkpoint], Checkpoint]


def without(name: str) -> Damage:
    return lambda checkpoint: dataclasses.replace(
        checkpoint, arrays={other: array for other, array in checkpoint.arrays.items() if other != name}
    )


def with_array(name: str, array: object) -> Damage:
    return lambda checkpoint: dataclasses.replace(checkpoint, arrays={**checkpoint.arrays, name: np.asarray(array)})


@pytest.mark.parametrize(
    "damage",
    [
        lambda checkpoint: dataclasses.replace(checkpoint, features="other/1"),
        without("scale"),
        with_array("scale", [1.0]),
        with_array("scale", [np.nan, 1.0]),
        with_array("scale", [np.inf, 1.0]),
        with_array("scale", [-1.0, 1.0]),
        without("2.quality.gram"),
        without("0.latency.sums"),
        with_array("1.length.moment", np.zeros(3)),
        with_array("1.billing.moment", np.full(DIMENSION + 2, np.nan)),
        with_array("0.quality.stray", np.zeros(1)),
        lambda checkpoint: dataclasses.replace(
            checkpoint, llms=(*checkpoint.llms, "more"), levels=(*checkpoint.levels, 0.5)
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(damage: Damage) -> None:
    world = World(18)
    donor, learner = make(), make()
    donor.learn(events(world, 100))
    learner.learn(events(world, 50))
    before, version, x = learner.checkpoint(), learner.version, world.encoding()
    forecast = learner.snapshot().forecasts(learner.features.features(x), tokens_in=300)
    with pytest.raises(StateError, match=r"[Ll]oad another checkpoint|start afresh"):
        learner.restore(damage(donor.checkpoint()))
    assert same(learner.checkpoint(), before)
    assert (learner.position, learner.reference) == (50, "large")
    assert learner.version == version + 1
    assert learner.snapshot().forecasts(learner.features.features(x), tokens_in=300) == forecast


def test_versions_rise_and_can_be_advanced() -> None:
    learner = make()
    assert [learner.snapshot().version for _ in range(3)] == [1, 2, 3]
    learner.advance_version(10)
    learner.advance_version(4)
    assert learner.snapshot().version == 11
