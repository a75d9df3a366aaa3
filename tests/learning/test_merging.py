"""Merging: two learners that are merged are one learner on the union."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.learning.learners import forecasts, make, same
from tests.learning.world import DIMENSION, SPECS, PlainFeatures, World, events

from mixllm.errors import OtherFeaturesError, StateError
from mixllm.learning import Checkpoint, Learner, Recipe
from mixllm.learning.merging import learned_since, merged
from mixllm.types import LearningEvent, LLMSpec, Price

STEADY = Recipe(latency_window_calls=1e12, cost_scale_window=1e12)
"""Nothing decays, so that everything adds up."""

DEAR = LLMSpec(name="dear", price=Price(usd_per_million_tokens_in=90, usd_per_million_tokens_out=90))


def taught(stream: Sequence[LearningEvent], *, specs: Sequence[LLMSpec] = SPECS, recipe: Recipe = STEADY) -> Learner:
    learner = make(specs, recipe=recipe, reference="large")
    learner.learn(stream)
    return learner


def state(stream: Sequence[LearningEvent]) -> Checkpoint:
    return taught(stream).checkpoint()


def arrays_by_llm(checkpoint: Checkpoint) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Return the arrays named by their LLM: the order of LLMs is no part of what is known."""
    named = {}
    for name, array in checkpoint.arrays.items():
        row, _, rest = name.partition(".")
        named[f"{checkpoint.llms[int(row)]}.{rest}" if row.isdigit() else name] = array
    return named


NO_SUMS = ("drift", "watch", "prices", "newest_event_s", "newcomer", "level_precision", "judging", "density")
"""Tests that go through judgements in their order, and settings: of two, one stands. What is known of sources and of
queries is added by `Learner.merge` itself."""


def sums_of(checkpoint: Checkpoint) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    named = arrays_by_llm(checkpoint)
    return {name: array for name, array in named.items() if not any(part in name for part in NO_SUMS)}


def assert_equal(one: Checkpoint, other: Checkpoint, *, but: tuple[str, ...] = ()) -> None:
    mine, theirs = sums_of(one), sums_of(other)
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        scale = 1.0 + np.abs(array).max()
        assert any(part in name for part in but) or np.allclose(array, theirs[name], rtol=1e-9, atol=1e-10 * scale), (
            name
        )


# Times are learned relative to the forecast of the moment, so not even without decay are their sums those of one
# learner; everything else is.
TIMES = (".latency.", ".pace.")

streams = st.builds(
    lambda seed, count, first: events(World(seed), count, first=first),
    st.integers(0, 1_000),
    st.integers(0, 60),
    st.integers(1, 9),
)


@settings(deadline=None, max_examples=25)
@given(streams, streams)
def test_merged_is_one_learner_on_the_union(one: list[LearningEvent], other: list[LearningEvent]) -> None:
    whole = taught(one)
    whole.learn([_moved(event, 1_000) for event in other])
    joined = taught(one)
    if one != other or not one:
        joined.merge(state(other))
        assert_equal(joined.checkpoint(), whole.checkpoint(), but=TIMES)
        x = World(3).encoding()
        mine, theirs = forecasts(joined, x), forecasts(whole, x)
        for name, forecast in mine.items():
            assert forecast.quality.mean == pytest.approx(theirs[name].quality.mean, abs=1e-6)
            assert forecast.quality.std == pytest.approx(theirs[name].quality.std, rel=1e-5)
            assert forecast.tokens_out.mean == pytest.approx(theirs[name].tokens_out.mean, rel=1e-5)
            assert forecast.cost_usd.mean == pytest.approx(theirs[name].cost_usd.mean, rel=1e-5)


def test_sources_and_known_queries_add_up() -> None:
    one, other = events(World(1), 60), events(World(2), 80)
    joined, theirs = taught(one), taught(other)
    mine = joined.checkpoint()
    joined.merge(theirs.checkpoint())
    whole = joined.checkpoint()
    sums = [state.arrays["judging.channels"].sum(axis=0) for state in (mine, theirs.checkpoint(), whole)]
    assert np.allclose(sums[0] + sums[1], sums[2])
    rows = [{row.tobytes() for row in state.arrays["density.rows"]} for state in (mine, theirs.checkpoint(), whole)]
    assert rows[0] | rows[1] == rows[2]
    assert rows[0]
    assert rows[1] - rows[0]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 500), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_order_and_grouping_do_not_matter_and_nothing_is_neutral(seed: int, a: int, b: int, c: int) -> None:
    one, two, three = (state(events(World(seed + step), count)) for step, count in enumerate((a, b, c)))
    assert_equal(merged(one, two), merged(two, one))
    assert_equal(merged(merged(one, two), three), merged(one, merged(two, three)))
    nothing = state([])
    assert_equal(merged(one, nothing), one)
    assert_equal(merged(nothing, one), one)
    assert_equal(merged(nothing, nothing), nothing)


@settings(deadline=None, max_examples=20)
@given(streams, streams, streams)
def test_what_two_learned_since_a_common_start_adds_up(
    common: list[LearningEvent], one: list[LearningEvent], other: list[LearningEvent]
) -> None:
    assume(len(common) > 0)  # Else both may be the same, which is refused.
    start = state(common)
    mine, theirs, whole = (taught(common) for _ in range(3))
    mine.learn([_moved(event, 1_000) for event in one])
    theirs.learn([_moved(event, 1_000) for event in other])
    whole.learn([_moved(event, 1_000) for event in one])
    whole.learn([_moved(event, 2_000) for event in other])
    delta = learned_since(theirs.checkpoint(), start)
    if any(array.any() for array in sums_of(delta).values()):
        mine.merge(delta)
        assert_equal(mine.checkpoint(), whole.checkpoint(), but=TIMES)
    assert_equal(merged(start, learned_since(mine.checkpoint(), start)), mine.checkpoint(), but=TIMES)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 500), st.integers(1, 120), st.integers(0, 120), st.integers(0, 120))
def test_decayed_sums_never_become_impossible(seed: int, common: int, one: int, other: int) -> None:
    """Where much was forgotten since, what is shared is what can still be told apart, and merging always works."""
    recipe = Recipe(latency_window_calls=5.0, cost_scale_window=5.0)
    first, second = taught([], recipe=recipe), taught([], recipe=recipe)
    world = World(seed)
    past = events(world, common)
    first.learn(past)
    second.learn(past)
    start = first.checkpoint()
    first.learn([_moved(event, 1_000) for event in events(world, one)])
    second.learn([_moved(event, 1_000) for event in events(world, other)])
    delta = learned_since(second.checkpoint(), start)
    assert (delta.arrays["scale"] >= 0).all()
    new = taught([], recipe=recipe)
    for receiver in (first, new):
        if any(array.any() for array in sums_of(delta).values()) and not same(receiver.checkpoint(), delta):
            receiver.merge(delta)
        for latency in receiver.snapshot().latency:
            assert latency.ttft_s > 0
            assert latency.tpot_s > 0
            assert latency.relative_std >= 0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 500), st.floats(0.0, 1.0), st.integers(0, 40))
def test_what_was_forgotten_is_not_taken_away_again(seed: int, kept: float, count: int) -> None:
    """A later state that kept only a share of the earlier one and learned something new."""
    earlier, new = state(events(World(seed), 40)), state(events(World(seed + 1), count))
    parts = tuple(f".{part}." for part in ("quality", "length", "billing", "latency"))
    arrays = {
        name: kept * array + new.arrays[name] if any(part in name for part in parts) else array
        for name, array in earlier.arrays.items()
    }
    delta = learned_since(replace(new, arrays=arrays), earlier)
    for row in range(len(SPECS)):
        for part in ("quality", "length", "billing", "latency"):
            weight = delta.arrays[f"{row}.{part}.sums"][1]
            most = new.arrays[f"{row}.{part}.sums"][1]
            assert -1e-9 <= weight <= most + 1e-6, "nothing counts twice"
    receiver = taught([])
    if any(array.any() for array in sums_of(delta).values()):
        receiver.merge(delta)


@pytest.mark.parametrize("part", ["0.quality.gram", "1.latency.gram"])
def test_two_damaged_states_of_one_shape_are_refused(part: str) -> None:
    start, later = state(events(World(1), 10)), state(events(World(1), 20))
    broken = {part: np.ones(3)}
    with pytest.raises(StateError, match="damaged"):
        learned_since(
            replace(later, arrays={**later.arrays, **broken}),
            replace(start, arrays={**start.arrays, part: np.full(3, 2.0)}),
        )


def test_position_pool_and_version_stay() -> None:
    learner = taught(events(World(1), 30))
    learner.snapshot()
    position, version, llms = learner.position, learner.version, learner.llms
    learner.merge(replace(state(events(World(2), 90)), version=1))
    assert (learner.position, learner.version, learner.llms) == (position, version, llms)
    assert learner.learn(events(World(3), 30)) == 0, "its own events still teach once"


def test_llms_that_are_not_known_are_kept_for_when_they_join() -> None:
    world = World(4)
    world.log_lengths["dear"], world.levels["dear"] = 4.0, 0.9
    world.slopes["dear"] = world.slopes["large"]
    other = taught(events(world, 80, llms=["dear", "small"]), specs=(*SPECS, DEAR))
    learner = taught(events(World(5), 20))
    learner.merge(other.checkpoint())
    assert learner.llms == tuple(spec.name for spec in SPECS)
    learner.put_llm(DEAR)
    assert learner.snapshot().judgements[-1] == other.snapshot().judgements[-1] > 0


def test_a_level_is_a_prior_and_that_of_the_receiver_stands() -> None:
    mine, theirs = state(events(World(6), 20)), state(events(World(7), 20))
    other = replace(theirs, levels=tuple(level / 2 for level in theirs.levels))
    assert merged(mine, other).levels == mine.levels
    assert same(merged(mine, other), merged(mine, theirs))


def test_costs_on_the_scale_of_another_reference_are_converted() -> None:
    mine, theirs = state(events(World(8), 40)), state(events(World(9), 40))
    assert theirs.reference_price is not None
    price = Price(
        usd_per_million_tokens_in=theirs.reference_price.usd_per_million_tokens_in * 3,
        usd_per_million_tokens_out=theirs.reference_price.usd_per_million_tokens_out * 3,
    )
    arrays = {**theirs.arrays, "scale": theirs.arrays["scale"] * (3, 1)}
    dearer = replace(theirs, reference="other", reference_price=price, arrays=arrays)
    assert np.allclose(merged(mine, dearer).arrays["scale"], merged(mine, theirs).arrays["scale"])
    assert merged(mine, dearer).reference == mine.reference
    assert merged(replace(mine, reference=None, reference_price=None), dearer).reference == "other"


def test_the_same_state_twice_is_refused() -> None:
    learner = taught(events(World(10), 20))
    before = learner.checkpoint()
    with pytest.raises(StateError, match="would count twice"):
        learner.merge(before)
    assert same(learner.checkpoint(), before)


@pytest.mark.parametrize("part", ["0.quality.gram", "1.length.moment", "2.latency.sums", "scale", "0.billing.sums"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1e30])
def test_damaged_states_are_refused_and_nothing_changes(part: str, value: float) -> None:
    if part == "1.length.moment" and value == -1e30:
        return  # A moment may be anything.
    learner, other = taught(events(World(11), 30)), state(events(World(12), 30))
    before = learner.checkpoint()
    broken = other.arrays[part].copy()
    broken.flat[0] = value
    with pytest.raises(StateError):
        learner.merge(replace(other, arrays={**other.arrays, part: broken}))
    assert same(learner.checkpoint(), before)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("0.quality.gram", "other shapes"), ("0.mood.sums", "a part 'mood'"), ("weather", "a part 'weather'")],
)
def test_what_does_not_fit_is_refused(name: str, expected: str) -> None:
    learner, other = taught(events(World(13), 30)), state(events(World(14), 30))
    with pytest.raises(StateError, match=expected):
        learner.merge(replace(other, arrays={**other.arrays, name: np.ones((2, 2))}))


def test_other_features_are_refused() -> None:
    other = Learner(features=PlainFeatures(fingerprint="other/1"), encoding_dimension=DIMENSION, specs=SPECS)
    learner = taught(events(World(15), 10))
    with pytest.raises(OtherFeaturesError, match="same encoder"):
        learner.merge(other.checkpoint())
    with pytest.raises(OtherFeaturesError, match="same encoder"):
        learned_since(learner.checkpoint(), other.checkpoint())


def test_an_earlier_state_with_other_llms_is_refused() -> None:
    earlier = taught([], specs=(*SPECS, DEAR)).checkpoint()
    with pytest.raises(StateError, match="'dear'"):
        learned_since(state(events(World(16), 10)), earlier)


def _moved(event: LearningEvent, by: int) -> LearningEvent:
    return msgspec.structs.replace(event, seq=event.seq + by)
