"""How strongly predictors are shrunk."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.learning.offline import Shrinkage, tune_shrinkage

TAGS, EMBEDDING, LLMS = 3, 40, 3
Draw = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]
COSTS = np.array([0.8, 0.9, 1.0])


def draw(count: int, *, signal: float, seed: int = 0) -> Draw:
    """Return features, quality that depends on the embedding as much as `signal` says, and costs."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, EMBEDDING))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    pi = rng.dirichlet(np.ones(TAGS), size=count)
    slopes = np.random.default_rng(77).normal(size=(EMBEDDING, LLMS))
    mean = np.clip(np.array([0.4, 0.5, 0.7]) + signal * x @ slopes, 0.02, 0.98)
    quality = (rng.uniform(size=mean.shape) < mean).astype(np.float64)
    features = np.hstack([pi, x, np.ones((count, 1))]).astype(np.float32)
    return features, quality, np.tile(COSTS, (count, 1)) * rng.uniform(0.9, 1.1, (count, 1))


def tuned(
    features: NDArray[np.float32], quality: NDArray[np.float64], cost: NDArray[np.float64], *, seed: int = 0
) -> Shrinkage:
    return tune_shrinkage(features, quality, cost, tags=TAGS, reference_cost_usd=1.0, rng=np.random.default_rng(seed))


def value_of(found: Shrinkage, embedding_ratio: float) -> float:
    return max(score.value for score in found.scores if score.embedding_ratio == embedding_ratio)


def test_noise_is_shrunk_and_signal_is_not() -> None:
    """Over several draws: on noise all ratios earn about the same, so that one draw's best is partly chance."""
    noise = [tuned(*draw(800, signal=0.0, seed=seed)) for seed in range(6)]
    signal = [tuned(*draw(800, signal=0.15, seed=seed)) for seed in range(6)]
    assert np.mean([value_of(one, 1280.0) - value_of(one, 20.0) for one in noise]) > 0
    assert all(value_of(one, 20.0) > value_of(one, 1280.0) for one in signal)
    assert np.median([one.embedding_ratio for one in noise]) >= 80.0
    assert {one.embedding_ratio for one in signal} == {20.0}
    assert 0.2 < np.mean([one.noise_variance for one in noise]) < 0.3


def test_what_follows_from_the_choice() -> None:
    found = tuned(*draw(200, signal=0.3))
    assert len(found.scores) == len({(one.tag_ratio, one.embedding_ratio) for one in found.scores}) == 12
    assert (found.pool_tag_ratio, found.pool_embedding_ratio) == (found.tag_ratio / 4, found.embedding_ratio / 4)
    (chosen,) = (
        one for one in found.scores if (one.tag_ratio, one.embedding_ratio) == (found.tag_ratio, found.embedding_ratio)
    )
    assert chosen.behind_se <= 0.5
    assert min(one.behind_se for one in found.scores) == 0.0


def test_without_a_clear_best_it_is_the_usual() -> None:
    features, quality, cost = draw(100, signal=0.0)
    found = tuned(features, np.full_like(quality, 0.5), cost)
    assert (found.tag_ratio, found.embedding_ratio) == (3.0, 80.0)
    assert found.noise_variance == pytest.approx(1e-4), "never 0"


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_partial_logs(share: float) -> None:
    features, quality, cost = draw(200, signal=0.4)
    unasked = np.random.default_rng(1).uniform(size=quality.shape) > share
    quality[unasked] = cost[unasked] = np.nan
    found = tuned(features, quality, cost)
    assert all(math.isfinite(one.value) and math.isfinite(one.behind_se) for one in found.scores)
    assert 0 < found.noise_variance < 1


def test_a_cost_without_a_judgement_is_nothing_earned() -> None:
    features, quality, cost = draw(200, signal=0.4)
    quality[::2] = np.nan
    full = tuned(features, quality, cost)
    assert all(math.isfinite(one.value) for one in full.scores)
    quality[:, 1] = np.nan
    cost[:, 1] = np.nan
    assert math.isfinite(tuned(features, quality, cost).noise_variance)


def test_an_llm_that_was_asked_once() -> None:
    features, quality, cost = draw(60, signal=0.4)
    quality[1:, 2] = cost[1:, 2] = np.nan
    assert all(math.isfinite(one.value) for one in tuned(features, quality, cost).scores)


def test_free_llms() -> None:
    features, quality, cost = draw(60, signal=0.4)
    assert all(math.isfinite(one.value) for one in tuned(features, quality, cost * 0.0).scores)


def test_the_same_seed_is_the_same_choice() -> None:
    world = draw(120, signal=0.3)
    assert tuned(*world, seed=2) == tuned(*world, seed=2)
