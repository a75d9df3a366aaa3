"""Frozen banks: what did not change is taken from the last ones, and nothing can tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learning.learners import make
from tests.learning.world import World, events, spec

from mixllm.learning import Learner, Snapshot


def fresh(learner: Learner) -> Snapshot:
    """Return the snapshot of a learner that never made one."""
    other = make(tuple(learner._specs.values()))
    other.restore(learner.checkpoint())
    other._models = learner._models  # The very same models: no covariance is computed afresh.
    return other.snapshot()


def assert_same(one: Snapshot, other: Snapshot) -> None:
    for part in ("quality", "length"):
        mine, theirs = getattr(one, part), getattr(other, part)
        for name in ("means", "covariances", "residual_variances"):
            assert np.array_equal(getattr(mine, name), getattr(theirs, name)), (part, name)
    assert np.array_equal(one.billing.means, other.billing.means)
    assert np.array_equal(one.billing.residual_variances, other.billing.residual_variances)


steps = st.lists(st.sampled_from(["small", "middle", "large", "add", "drop", "restore", "refactor"]), max_size=12)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 999), steps)
def test_whatever_happens_between_snapshots_they_are_as_if_made_afresh(seed: int, taken: list[str]) -> None:
    world, learner = World(seed), make()
    for number, step in enumerate(taken):
        if step == "add" and "new" not in learner.llms:
            learner.put_llm(spec("new", 2.0))
        elif step == "drop" and "middle" in learner.llms:
            learner.drop_llm("middle")
        elif step == "restore":
            learner.restore(learner.checkpoint())
        elif step == "refactor":
            learner._models["small"].quality._refactor()
        elif step in ("small", "large"):
            learner.learn(events(world, 3, first=1 + 10 * number, llms=[step]))
        assert_same(learner.snapshot(), fresh(learner))


def test_a_snapshot_that_was_given_out_never_changes() -> None:
    learner = make()
    learner.learn(events(World(1), 20))
    given_out = learner.snapshot()
    covariances, means = given_out.quality.covariances.copy(), given_out.quality.means.copy()
    learner.learn(events(World(2), 20, first=100))
    learner.snapshot()
    assert np.array_equal(given_out.quality.covariances, covariances)
    assert np.array_equal(given_out.quality.means, means)


def test_parts_that_learned_nothing_are_shared() -> None:
    learner = make()
    learner.learn(events(World(1), 20))
    first = learner.snapshot()
    judgement = next(event for event in events(World(2), 9, first=100) if event.feedback is not None)
    learner.learn([judgement])
    second = learner.snapshot()
    assert second.length is first.length
    assert second.billing is first.billing
    assert second.quality is not first.quality
    assert pytest.approx(sum(first.judgements) + 1) == sum(second.judgements)
