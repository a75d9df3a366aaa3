"""Forecasts of many queries equal those of each."""

from __future__ import annotations

import numpy as np
import pytest
from tests.learning.learners import make
from tests.learning.world import DIMENSION, SPECS, PlainFeatures, World, events

from mixllm.learning import Learner
from mixllm.learning.offline import forecast_batch

FEATURES = PlainFeatures()


@pytest.mark.parametrize("taught", [0, 400])
@pytest.mark.parametrize("queries", [1, 20, 600])
def test_equals_the_snapshot_row_by_row(taught: int, queries: int) -> None:
    world, learner = World(3), make()
    learner.learn(events(world, taught))
    snapshot = learner.snapshot()
    rng = np.random.default_rng(0)
    features = np.array([FEATURES.features(world.encoding()) for _ in range(queries)])
    tokens_in = rng.integers(1, 5000, queries).astype(np.float64)
    found = forecast_batch(snapshot, features, tokens_in)
    for row in {0, queries // 2, queries - 1, min(511, queries - 1), min(512, queries - 1)}:
        alone = snapshot.forecasts(features[row], tokens_in=int(tokens_in[row]))
        assert found.quality[row] == pytest.approx([one.quality.mean for one in alone], rel=1e-5)
        assert found.quality_std[row] == pytest.approx([one.quality.std for one in alone], rel=1e-4)
        assert found.tokens_out[row] == pytest.approx([one.tokens_out.mean for one in alone], rel=1e-5)
        assert found.cost_usd[row] == pytest.approx([one.cost_usd.mean for one in alone], rel=1e-5)
        assert found.cost_std_usd[row] == pytest.approx([one.cost_usd.std for one in alone], rel=1e-4)


def test_shapes() -> None:
    found = forecast_batch(make().snapshot(), np.ones((4, DIMENSION + 1), np.float32), np.ones(4))
    for array in (found.quality, found.quality_std, found.tokens_out, found.cost_usd, found.cost_std_usd):
        assert array.shape == (4, len(SPECS))


def test_no_query() -> None:
    found = forecast_batch(make().snapshot(), np.ones((0, DIMENSION + 1), np.float32), np.ones(0))
    assert found.quality.shape == found.cost_usd.shape == (0, len(SPECS))


def test_other_lengths_are_refused() -> None:
    learner: Learner = make()
    with pytest.raises(ValueError, match=r"argument|features|rows|tokens"):
        forecast_batch(learner.snapshot(), np.ones((4, DIMENSION + 1), np.float32), np.ones(3))
