"""Snapshots as bytes: what is read decides as what was written, to the last bit; damage and other features are told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.learning.world import DIMENSION, SPECS, PlainFeatures, World, events, spec

from mixllm.errors import StateError
from mixllm.learning import Bases, Learner, Snapshot
from mixllm.learning.dynamic_feedback import DynamicFeedback
from mixllm.learning.judging import Judging
from mixllm.learning.snapshot_bytes import snapshot_from_bytes, snapshot_to_bytes
from mixllm.predictors import FrozenLinear
from mixllm.types import WarmPrefix


def learner(*, bases: Bases | None = None, fingerprint: str = "plain/1", dynamic: bool = False) -> Learner:
    judging = Judging(dynamic=DynamicFeedback(dimension=DIMENSION + 1)) if dynamic else None
    features = PlainFeatures(fingerprint=fingerprint)
    return Learner(features=features, encoding_dimension=DIMENSION, specs=SPECS, bases=bases, judging=judging)


def bases() -> Bases:
    rng = np.random.default_rng(3)
    return Bases(
        quality={"small": FrozenLinear(weights=rng.normal(0, 0.1, DIMENSION + 1).astype(np.float32))},
        length={"large": FrozenLinear(weights=rng.normal(0, 0.1, DIMENSION + 2).astype(np.float32))},
    )


def through_bytes(made: Learner, snapshot: Snapshot, after: Snapshot | None = None) -> Snapshot:
    content = snapshot_to_bytes(snapshot, features=made.fingerprint, after=after)
    return snapshot_from_bytes(content, learner=made, after=after)


def assert_same(one: Snapshot, other: Snapshot) -> None:
    assert (one.version, one.position, one.specs) == (other.version, other.position, other.specs)
    assert (one.judgements, one.answers, one.newcomer) == (other.judgements, other.answers, other.newcomer)
    assert (one.cost_scale_usd, one.spent_usd, one.latency) == (other.cost_scale_usd, other.spent_usd, other.latency)
    world = World(99)
    for number in range(5):
        z = PlainFeatures().features(world.encoding())
        warm = WarmPrefix(llm="large", tokens=20)
        told, expected = (
            snapshot.forecasts(z, tokens_in=50 + number, in_flight=[number] * len(one.specs), now_s=9.0, warm=warm)
            for snapshot in (one, other)
        )
        for name in told.__dataclass_fields__:
            assert np.array_equal(getattr(told, name), getattr(expected, name)), name
        outside, expected_outside = one.outside(z), other.outside(z)
        assert (outside is None) == (expected_outside is None)
        if outside is not None and expected_outside is not None:
            assert outside.score == expected_outside.score
            assert np.array_equal(outside.levels, expected_outside.levels)
            assert np.array_equal(outside.spreads, expected_outside.spreads)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(learner, id="plain"),
        pytest.param(lambda: learner(bases=bases()), id="on bases"),
        pytest.param(lambda: learner(dynamic=True), id="with scores of thumbs"),
    ],
)
@pytest.mark.parametrize("count", [0, 40, 900])
def test_what_is_read_forecasts_as_what_was_written(make: Callable[[], Learner], count: int) -> None:
    made = make()
    made.learn(events(World(1), count))
    snapshot = made.snapshot()
    assert (snapshot.surroundings is not None) == (count == 900), "the sample of queries is large enough at last"
    assert_same(through_bytes(made, snapshot), snapshot)


def test_an_empty_pool_has_a_snapshot_too() -> None:
    made = learner()
    for one in SPECS:
        made.drop_llm(one.name)
    assert through_bytes(made, made.snapshot()).specs == ()


def test_what_the_reader_has_is_left_out() -> None:
    made = learner()
    made.learn(events(World(1), 200))
    first = made.snapshot()
    made.learn(events(World(2), 3, first=201, llms=("middle",)))
    second = made.snapshot()
    assert_same(through_bytes(made, second, after=first), second)
    whole = snapshot_to_bytes(second, features=made.fingerprint)
    assert len(snapshot_to_bytes(second, features=made.fingerprint, after=first)) < len(whole)


def test_another_pool_is_told_whole() -> None:
    made = learner()
    first = made.snapshot()
    made.put_llm(spec("new", 3.0))
    second = made.snapshot()
    assert_same(through_bytes(made, second, after=first), second)


def test_one_that_rests_on_another_snapshot_is_refused() -> None:
    made = learner()
    first, second = made.snapshot(), made.snapshot()
    content = snapshot_to_bytes(second, features=made.fingerprint, after=first)
    for wrong in (None, made.snapshot()):
        with pytest.raises(StateError, match="rests on another, 1, that is not the last one here"):
            snapshot_from_bytes(content, learner=made, after=wrong)


def test_every_damage_is_told() -> None:
    made = learner()
    made.learn(events(World(1), 20))
    content = snapshot_to_bytes(made.snapshot(), features=made.fingerprint)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 200).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(StateError, match="A snapshot"):
            snapshot_from_bytes(bytes(damaged), learner=made)
    for length in (0, 8, 40, len(content) // 2, len(content) - 1):
        with pytest.raises(StateError, match="A snapshot"):
            snapshot_from_bytes(content[:length], learner=made)


def test_other_features_are_refused() -> None:
    made = learner()
    content = snapshot_to_bytes(made.snapshot(), features=made.fingerprint)
    with pytest.raises(StateError, match="restart the gateway"):
        snapshot_from_bytes(content, learner=learner(fingerprint="plain/2"))
