"""From judgements to quality: what sources, keys, order, delay and restarts do to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learning.learners import forecasts, make, same
from tests.learning.world import DIMENSION, SPECS, PlainFeatures, Vector, World, events, feedback_event

from mixllm.errors import InvalidValueError, StateError
from mixllm.learning import Checkpoint, Learner, Recipe
from mixllm.learning.dynamic_feedback import DynamicFeedback
from mixllm.learning.judging import Judging, Taught
from mixllm.learning.key_shares import KeyShares
from mixllm.types import FeedbackKind, LearningEvent

NAMES = ("small", "middle", "large")


def with_judging(judging: Judging) -> Learner:
    return Learner(features=PlainFeatures(), encoding_dimension=DIMENSION, specs=SPECS, judging=judging)


def thumb(
    seq: int,
    llm: str,
    x: Vector,
    value: float,
    *,
    source: str = "user",
    key_id: str = "",
    decision: int | None = None,
    at_s: float = 0.0,
) -> LearningEvent:
    """Return a thumb as the store gives it."""
    event = feedback_event(seq, llm, x, value)
    assert event.feedback is not None
    decision_id = str(seq if decision is None else decision)
    feedback = msgspec.structs.replace(
        event.feedback,
        kind=FeedbackKind.BINARY,
        source=source,
        key_id=key_id,
        decision_id=decision_id,
        created_at_s=at_s,
    )
    return msgspec.structs.replace(event, feedback=feedback, decision_id=decision_id)


def said(world: World, count: int, flipped: dict[str, float], *, first: int = 1) -> list[LearningEvent]:
    """Return thumbs of sources that say the opposite now and then."""
    made = []
    for seq in range(first, first + count):
        llm, x = NAMES[int(world.rng.integers(3))], world.encoding()
        up = float(world.rng.random() < world.quality(llm, x))
        source = list(flipped)[int(world.rng.integers(len(flipped)))]
        made.append(thumb(seq, llm, x, 1.0 - up if world.rng.random() < flipped[source] else up, source=source))
    return made


def error_of(learner: Learner, world: World) -> float:
    """Return the root mean squared error of the forecasts of quality."""
    errors = []
    for _ in range(150):
        x = world.encoding()
        errors += [forecast.quality.mean - world.quality(llm, x) for llm, forecast in forecasts(learner, x).items()]
    return float(np.sqrt(np.mean(np.square(errors))))


# --- sources ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_sources_spoil_less_where_they_are_compared(seed: int) -> None:
    flipped = {"honest": 0.0, "hasty": 0.2, "random": 0.5, "opposite": 1.0}
    errors = []
    for reliability in (True, False):
        world, learner = World(seed), with_judging(Judging(reliability=reliability))
        learner.learn(said(world, 3000, flipped))
        errors.append(error_of(learner, world))
    assert errors[0] < 0.8 * errors[1]


def test_sources_are_found_out_in_the_order_of_their_reliability() -> None:
    flipped = {"honest": 0.0, "hasty": 0.2, "random": 0.5, "opposite": 1.0}
    world, learner = World(4), make()
    learner.learn(said(world, 8000, flipped))
    found = learner.judging.sources()
    gains = [found[f"binary/{source}"].gain for source in flipped]
    assert gains == sorted(gains, reverse=True)
    assert gains[1] == pytest.approx(0.6, abs=0.3)
    assert gains[2] == pytest.approx(0.0, abs=0.3)
    assert found["binary/opposite"].weight == 0.0


def test_judgements_of_the_same_answer_tell_sources_apart_sooner() -> None:
    """A judge that is at random beside an honest user: on the same answers, or each on answers of its own."""
    gains = []
    for shared in (True, False):
        world, learner = World(5), make()
        made: list[LearningEvent] = []
        for seq in range(1, 2401, 2):
            llm, x = NAMES[int(world.rng.integers(3))], world.encoding()
            up, luck = float(world.rng.random() < world.quality(llm, x)), float(world.rng.random() < 0.5)
            made += [
                thumb(seq, llm, x, up, source="user"),
                thumb(seq + 1, llm, x, luck, source="judge", decision=seq if shared else None),
            ]
        learner.learn(made)
        gains.append(abs(learner.judging.sources()["binary/judge"].gain))
    assert gains[0] < gains[1]
    assert gains[0] < 0.1


def test_a_lone_source_teaches_as_if_nothing_were_estimated() -> None:
    world = World(6)
    batch = said(world, 800, {"user": 0.2})
    plain, compared = with_judging(Judging(reliability=False)), make()
    plain.learn(batch)
    compared.learn(batch)
    one, other = plain.checkpoint().arrays, compared.checkpoint().arrays
    for name, array in one.items():
        if not name.startswith("judging."):
            assert np.array_equal(other[name], array), name


def test_corrected_judgements_leave_the_mean_right() -> None:
    """Targets outside [0, 1] have to stay there: cut off, an LLM that is nearly always good would look worse."""
    rng = np.random.default_rng(7)
    learner = make(recipe=Recipe(tag_precision=1e4, embedding_precision=1e4, pool_tag_precision=1e4))
    truth = {"small": 0.15, "middle": 0.55, "large": 0.95}
    made = []
    for seq in range(1, 12_001):
        llm = NAMES[int(rng.integers(3))]
        up = float(rng.random() < truth[llm])
        hasty = rng.random() < 0.7
        value = 1.0 - up if hasty and rng.random() < 0.2 else up
        made.append(thumb(seq, llm, np.zeros(DIMENSION, np.float32), value, source="hasty" if hasty else "honest"))
    learner.learn(made)
    for llm, forecast in forecasts(learner, np.zeros(DIMENSION, np.float32)).items():
        assert forecast.quality.mean == pytest.approx(truth[llm], abs=0.05), llm


def test_what_a_judgement_taught_is_told() -> None:
    learner, model = make(), Recipe().new_model(level=0.5, tags=2, embedding=DIMENSION - 2)
    features = np.append(World(1).encoding(), 1.0).astype(np.float32)
    event = feedback_event(1, "small", World(1).encoding(), 0.25)
    assert event.feedback is not None
    taught = learner.judging.learn(model, features, event.feedback, llm="small")
    assert taught == Taught(target=0.25, weight=1.0)
    other = msgspec.structs.replace(event.feedback, metric="politeness")
    assert learner.judging.learn(model, features, other, llm="small") is None
    assert model.quality.observations == 1.0


@pytest.mark.parametrize("fault", ["features", "value"])
def test_a_judgement_that_cannot_be_learned_changes_nothing(fault: str) -> None:
    judging, model = Judging(), Recipe().new_model(level=0.5, tags=2, embedding=DIMENSION - 2)
    event = feedback_event(1, "small", World(1).encoding(), 0.25)
    assert event.feedback is not None
    feedback = event.feedback
    features = np.full(DIMENSION + 1, np.nan if fault == "features" else 1.0, np.float32)
    if fault == "value":
        msgspec.structs.force_setattr(feedback, "value", 7.0)
    with pytest.raises(InvalidValueError):
        judging.learn(model, features, feedback, llm="small")
    assert model.quality.observations == 0.0
    assert judging.channels.names == ()
    assert judging.shares.state()[1]["keys"] == ()


# --- keys -------------------------------------------------------------------------------------------------------------


def farmed(*, shares: KeyShares, source: str = "user") -> float:
    """Return by how much 5,000 thumbs of one key move the forecast of an LLM that nine keys have found bad."""
    found = []
    for thumbs in (0, 5000):
        x = np.zeros(DIMENSION, np.float32)
        rng = np.random.default_rng(8)
        learner = with_judging(Judging(shares=shares.cleared()))
        honest = [thumb(seq, "small", x, float(rng.random() < 0.2), key_id=f"key {seq % 9}") for seq in range(1, 451)]
        farming = [thumb(451 + seq, "small", x, 1.0, source=source, key_id="farmer") for seq in range(thumbs)]
        learner.learn([*honest, *farming])
        found.append(forecasts(learner, x)["small"].quality.mean)
    return found[1] - found[0]


@pytest.mark.parametrize("source", ["user", "judge"])
def test_one_key_moves_a_forecast_by_no_more_than_its_share(source: str) -> None:
    assert 0.0 < farmed(shares=KeyShares(max_share=0.2), source=source) <= 0.2


def test_without_the_bound_one_key_has_its_way() -> None:
    assert farmed(shares=KeyShares(max_share=1.0)) > 0.5


def test_beyond_its_share_a_judgement_counts_as_ignored() -> None:
    x = np.zeros(DIMENSION, np.float32)
    learner = with_judging(Judging(shares=KeyShares(max_share=0.5, min_judgements=5)))
    learner.learn([thumb(1, "small", x, 1.0), *[thumb(seq, "small", x, 1.0, key_id="k") for seq in range(2, 30)]])
    assert learner.counts.feedback == 6
    assert learner.counts.ignored == 23
    assert forecasts(learner, x)["small"].judgements == 6


# --- order, delay, repetition, restart --------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.permutations(range(24)))
def test_the_order_of_one_sources_judgements_changes_nothing(order: Sequence[int]) -> None:
    batch = said(World(9), 24, {"user": 0.1})
    straight, shuffled = make(), make()
    straight.learn(batch)
    shuffled.learn([msgspec.structs.replace(batch[place], seq=seq) for seq, place in enumerate(order, start=1)])
    for x in (World(9).encoding(), World(10).encoding()):
        for llm, forecast in forecasts(straight, x).items():
            assert forecasts(shuffled, x)[llm].quality.mean == pytest.approx(forecast.quality.mean, abs=2e-6)


def test_several_sources_in_another_order_teach_nearly_the_same() -> None:
    """What was learned before a source was found out stays learned: the one exception."""
    world = World(11)
    batch = said(world, 3000, {"honest": 0.0, "hasty": 0.2, "random": 0.5})
    order = np.random.default_rng(12).permutation(len(batch))
    straight, shuffled = make(), make()
    straight.learn(batch)
    shuffled.learn([msgspec.structs.replace(batch[place], seq=seq) for seq, place in enumerate(order, start=1)])
    differences = [
        forecast.quality.mean - forecasts(shuffled, x)[llm].quality.mean
        for x in (world.encoding() for _ in range(40))
        for llm, forecast in forecasts(straight, x).items()
    ]
    assert float(np.sqrt(np.mean(np.square(differences)))) < 0.04
    for name, channel in straight.judging.sources().items():
        assert shuffled.judging.sources()[name].gain == pytest.approx(channel.gain, abs=0.3)


def mixed(count: int) -> list[LearningEvent]:
    """Return thumbs of several sources and keys, now and then of the same answer, as time passes."""
    world = World(13)
    made = []
    for seq in range(1, count + 1):
        llm, x = NAMES[int(world.rng.integers(3))], world.encoding()
        made.append(
            thumb(
                seq,
                llm,
                x,
                float(world.rng.integers(2)),
                source=f"source {int(world.rng.integers(3))}",
                key_id=("", "a", "b", "c")[int(world.rng.integers(4))],
                decision=seq - seq % 2,
                at_s=600.0 * seq,
            )
        )
    return made


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 250, 900])
def test_a_restart_changes_nothing(cut: int, dynamic: bool) -> None:
    def fresh() -> Learner:
        return with_judging(Judging(dynamic=DynamicFeedback(dimension=DIMENSION + 1) if dynamic else None))

    batch, whole, before, after = mixed(900), fresh(), fresh(), fresh()
    whole.learn(batch)
    before.learn(batch[:cut])
    after.restore(Checkpoint.from_bytes(before.checkpoint().to_bytes()))
    assert same(after.checkpoint(), before.checkpoint())
    assert after.learn(batch) == len(batch) - cut
    one, other = whole.checkpoint(), after.checkpoint()
    assert one.names == other.names
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_allclose(other.arrays[name], array, rtol=1e-7, atol=1e-9, err_msg=name)


def test_a_state_from_before_there_were_sources_is_read() -> None:
    world, old, learner = World(14), make(), make()
    old.learn(events(world, 60))
    known = old.checkpoint()
    arrays = {name: array for name, array in known.arrays.items() if not name.startswith("judging.")}
    learner.restore(replace(known, arrays=arrays, names={}))
    x = world.encoding()
    assert forecasts(learner, x) == forecasts(old, x)
    assert learner.judging.sources() == {}


@pytest.mark.parametrize("name", ["judging.channels", "judging.recent", "judging.shares.asked"])
def test_a_damaged_state_is_refused_and_leaves_the_learner_as_it_was(name: str) -> None:
    learner = make()
    learner.learn(mixed(50))
    known = learner.checkpoint()
    with pytest.raises(StateError, match="Load another checkpoint"):
        learner.restore(replace(known, arrays={**known.arrays, name: known.arrays[name][1:]}))
    assert same(learner.checkpoint(), known)


def test_merged_judging_knows_what_both_know() -> None:
    batch = mixed(600)
    one, other, whole = Judging(), Judging(), Judging()
    models = {name: Recipe().new_model(level=0.5, tags=2, embedding=DIMENSION - 2) for name in NAMES}
    features = PlainFeatures()
    for place, event in enumerate(batch):
        assert event.feedback is not None
        z = features.features(np.frombuffer(event.encoding, "<f4"))
        for judging in (whole, one if place < 300 else other):
            judging.channels.add(judging.channels.name_of(event.feedback), estimate=0.5, value=event.feedback.value)
            judging.shares.grant(event.llm, event.feedback.key_id, 1.0, at_s=event.feedback.created_at_s)
        assert models[event.llm].quality.predict(z).std > 0
    one.merge(other)
    assert one.sources().keys() == whole.sources().keys()
    for name, channel in whole.sources().items():
        assert one.sources()[name].gain == pytest.approx(channel.gain, abs=1e-9)


# --- thumbs by the dynamic-feedback score -----------------------------------------------------------------------------


def test_the_dynamic_score_takes_thumbs_and_leaves_scores_to_the_predictors() -> None:
    world = World(15)
    learner = with_judging(Judging(dynamic=DynamicFeedback(dimension=DIMENSION + 1)))
    x = world.encoding()
    before = forecasts(learner, x)
    learner.learn([thumb(seq, "small", x, 1.0) if seq % 2 else thumb(seq, "large", x, 0.0) for seq in range(1, 401)])
    after = forecasts(learner, x)
    assert after["small"].quality.mean > before["small"].quality.mean + 0.02
    assert after["large"].quality.mean < before["large"].quality.mean - 0.02
    assert after["middle"].quality == before["middle"].quality
    assert after["small"].quality.std == before["small"].quality.std
    assert learner.counts.feedback == 400
    learner.learn([feedback_event(401, "small", x, 1.0)])
    assert forecasts(learner, x)["small"].quality.std < before["small"].quality.std


def test_without_it_a_snapshot_carries_no_scores() -> None:
    learner = make()
    learner.learn(mixed(50))
    assert learner.snapshot().dynamic is None
