"""The pool in the learner: who comes moves nobody, who goes is not forgotten; the scale of cost; checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

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

from mixllm.errors import DuplicateLLMError, InvalidValueError, StateError, UnknownLLMError
from mixllm.learning import Checkpoint, Learner
from mixllm.types import LLMSpec, Outcome


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
