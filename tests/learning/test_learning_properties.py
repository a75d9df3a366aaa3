"""What must hold of learning whatever comes: order, repetition, the pool's comings and goings, precision."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.learning.learners import make
from tests.learning.world import World, events, spec

from mixllm.decision import DecisionMaker, ScoreWeights, SquareCBPolicy
from mixllm.decision.maker import Choice
from mixllm.learning import Checkpoint, Learner, Recipe
from mixllm.types import LearningEvent, Query

seeds = st.integers(0, 10_000)


def learned(stream: list[LearningEvent], *, recipe: Recipe | None = None) -> Learner:
    learner = make(recipe=recipe)
    learner.learn([msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(stream, start=1)])
    return learner


IN_ORDER = ("drift", "watch", "newest_event_s", "judging")
"""What goes through judgements one after the other, looking for a change or comparing each with the forecast of its
moment: its order is what it is about."""


def assert_alike(one: Checkpoint, other: Checkpoint, *, but: str = "-") -> None:
    left_out = (*IN_ORDER, but)
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        if not any(part in name for part in left_out):
            assert np.allclose(array, other.arrays[name], rtol=1e-9, atol=1e-9 * (1 + np.abs(array).max())), name


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(2, 60), st.randoms(use_true_random=False))
def test_the_order_of_independent_feedback_does_not_matter(seed: int, count: int, chance: st.DataObject) -> None:
    stream = [event for event in events(World(seed), 2 * count) if event.feedback is not None]
    shuffled = list(stream)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert_alike(learned(stream).checkpoint(), learned(shuffled).checkpoint())


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(2, 60))
def test_what_one_llm_is_told_does_not_depend_on_when_others_are(seed: int, count: int) -> None:
    """Everything but the scale of cost, which forgets and is the pool's: also latency, for each LLM has its own."""
    stream = events(World(seed), count)
    by_llm = sorted(stream, key=lambda event: event.llm)  # Stable: the order within an LLM stays.
    assert_alike(learned(stream).checkpoint(), learned(by_llm).checkpoint(), but="scale")


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(1, 60), st.data())
def test_however_often_events_come_again_they_teach_once(seed: int, count: int, data: st.DataObject) -> None:
    stream = events(World(seed), count)
    once = make()
    once.learn(stream)
    often = make()
    for end in sorted(data.draw(st.lists(st.integers(1, count), max_size=6))):
        often.learn(stream[:end])  # Each time from the beginning, as after a crash.
    often.learn(stream)
    mine, theirs = once.checkpoint(), often.checkpoint()
    assert mine.position == theirs.position == count
    assert all(np.array_equal(array, theirs.arrays[name]) for name, array in mine.arrays.items()), "to the last bit"


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(0, 60), st.floats(0.01, 100))
def test_an_llm_that_is_added_and_removed_leaves_no_trace(seed: int, count: int, usd: float) -> None:
    world = World(seed)
    learner = learned(events(world, count))
    z = learner.features.features(world.encoding())
    before, decided = learner.snapshot().forecasts(z, tokens_in=100), decision(learner, z)
    learner.put_llm(spec("passing", usd))
    with_it = learner.snapshot().forecasts(z, tokens_in=100)
    # To the rounding of float32 products, whose order depends on how many rows there are.
    assert np.allclose(with_it.quality[:-1], before.quality, rtol=1e-5), "the others do not move while it is there"
    assert np.allclose(with_it.cost_usd[:-1], before.cost_usd, rtol=1e-4)
    learner.drop_llm("passing")
    assert learner.snapshot().forecasts(z, tokens_in=100) == before
    assert decision(learner, z) == decided, "scores, propensities and choice as before"


def decision(learner: Learner, z: NDArray[np.float32]) -> Choice:
    """Return what would be chosen at `z`, with everything that led to it."""
    snapshot = learner.snapshot()
    return DecisionMaker(weights=ScoreWeights(), policy=SquareCBPolicy(gap_weight=5.0)).choose(
        Query(text="q"),
        specs=snapshot.specs,
        forecasts=snapshot.forecasts(z, tokens_in=100),
        cost_scale_usd=snapshot.cost_scale_usd,
        draw=0.7,
    )


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(1, 200))
def test_forecasts_in_float32_and_in_float64_agree(seed: int, count: int) -> None:
    world = World(seed)
    learner = learned(events(world, count))
    snapshot = learner.snapshot()
    for _ in range(3):
        z = learner.features.features(world.encoding())
        narrow = snapshot.forecasts(z, tokens_in=100)
        wide = snapshot.forecasts(z.astype(np.float64), tokens_in=100)
        assert narrow == wide, "the snapshot computes in float32 whatever it is given"
        # And the learner's own float64 posterior, under the prior that the pool shares, is what float32 approximates.
        for row, name in enumerate(one.name for one in snapshot.specs):
            model = learner._models[name].quality
            exact_std = float(np.sqrt(z.astype(np.float64) @ model.covariance @ z.astype(np.float64)))
            assert abs(narrow.quality_std[row] - exact_std) <= 1e-5 * (1 + exact_std)
            mean = float(snapshot.quality.means[row].astype(np.float64) @ z.astype(np.float64))
            assert abs(narrow.quality[row] - min(1.0, max(0.0, mean))) <= 1e-5


@settings(deadline=None, max_examples=25)
@given(seeds, st.integers(0, 120), st.floats(1.0, 20.0))
def test_forgetting_never_makes_a_variance_negative(seed: int, count: int, window: float) -> None:
    recipe = Recipe(latency_window_calls=window, cost_scale_window=window)
    learner = learned(events(World(seed), count), recipe=recipe)
    snapshot = learner.snapshot()
    assert all(latency.relative_std >= 0 for latency in snapshot.latency)
    assert all(latency.ttft_s > 0 and latency.tpot_s > 0 for latency in snapshot.latency)
    assert snapshot.cost_scale_usd > 0
    z = learner.features.features(World(seed + 1).encoding())
    made = snapshot.forecasts(z, tokens_in=100)
    for column in (made.quality_std, made.tokens_out_std, made.cost_usd_std, made.ttft_s_std, made.latency_s_std):
        assert (column >= 0).all()
        assert np.isfinite(column).all()
    learner.restore(learner.checkpoint())  # And what it keeps may be loaded again.


def test_learning_goes_on_however_much_was_learned() -> None:
    """No window is ever full: what comes late teaches as what came early."""
    world = World(1)
    learner = learned([event for event in events(world, 6_000) if event.feedback is not None])
    assert sum(learner.snapshot().judgements) == 3_000
    assert learner.counts.untaught == 0
    late = next(event for event in events(World(2), 9, first=9_000) if event.feedback is not None)
    before = learner.checkpoint()
    learner.learn([late])
    after = learner.checkpoint()
    row = after.llms.index(late.llm)
    assert after.arrays[f"{row}.quality.sums"][1] == before.arrays[f"{row}.quality.sums"][1] + 1
