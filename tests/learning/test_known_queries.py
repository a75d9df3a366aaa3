"""What the learner keeps of the queries it was taught: checkpoints, weights of judgements, a planted third cluster."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from tests.learning.world import DIMENSION, SPECS, PlainFeatures, Vector, World, events, feedback_event

from mixllm.decision import DecisionMaker, GreedyPolicy, OutOfDomainRule, ScoreWeights
from mixllm.errors import InvalidValueError, StateError
from mixllm.learning import Checkpoint, Learner, Recipe
from mixllm.learning.history import CallHistory
from mixllm.types import Query

RULE = OutOfDomainRule(shrinkage=1.0, widening=1.0, threshold=0.5, pessimism=1.0)


def learner(recipe: Recipe | None = None) -> Learner:
    return Learner(features=PlainFeatures(), encoding_dimension=DIMENSION, specs=SPECS, recipe=recipe)


def cluster(rng: np.random.Generator, place: int) -> Vector:
    """Return a query around one of three places; the third has no tag of its own."""
    x = rng.normal(0.0, 0.05, DIMENSION)
    x[:2] = (0.97, 0.03) if place == 0 else (0.03, 0.97) if place == 1 else (0.5, 0.5)
    x[2 + place] += 1.0
    return x.astype(np.float32)


QUALITY = {"small": (0.95, 0.2), "middle": (0.7, 0.7), "large": (0.72, 0.66)}
"""Of each LLM in the first two clusters: the small one is the best guess in one of them."""


def two_clusters(count: int = 400) -> Learner:
    rng, made = np.random.default_rng(4), learner(Recipe(embedding_precision=20.0))
    told = []
    for seq in range(1, 3 * count + 1):
        llm, place = ("small", "middle", "large")[seq % 3], int(rng.integers(2))
        told.append(feedback_event(seq, llm, cluster(rng, place), QUALITY[llm][place]))
    made.learn(told)
    return made


def test_a_third_cluster_is_noticed_and_gets_the_safe_llm() -> None:
    made, rng = two_clusters(), np.random.default_rng(9)
    snapshot = made.snapshot()

    def decide(x: Vector, *, rule: OutOfDomainRule | None) -> str:
        z = made.features.features(x)
        maker = DecisionMaker(weights=ScoreWeights(trade_off=9.0), policy=GreedyPolicy(), out_of_domain=rule)
        forecasts = snapshot.forecasts(z, tokens_in=100)
        choice = maker.choose(
            Query(text="?"),
            specs=snapshot.specs,
            forecasts=forecasts,
            cost_scale_usd=snapshot.cost_scale_usd,
            draw=0.5,
            outside=snapshot.outside(z),
        )
        return choice.chosen.llm

    inside = [cluster(rng, 0) for _ in range(30)]
    third = [cluster(rng, 2) for _ in range(30)]
    for x, far in [(x, False) for x in inside] + [(x, True) for x in third]:
        outside = snapshot.outside(made.features.features(x))
        assert outside is not None
        assert (outside.score > 0.5) == far
    assert {decide(x, rule=RULE) for x in inside} == {decide(x, rule=None) for x in inside} == {"small"}
    # The small LLM's average is no worse than the others' by much, but nobody knows on which side of it this is.
    assert {decide(x, rule=RULE) for x in third} == {"middle"}


def test_levels_and_spreads_are_those_of_the_llms() -> None:
    made = two_clusters()
    outside = made.snapshot().outside(np.ones(DIMENSION + 1, np.float32))
    assert outside is not None
    small, middle, _ = outside.levels
    assert small == pytest.approx(0.575, abs=0.06)
    assert middle == pytest.approx(0.7, abs=0.04)
    assert outside.spreads[0] > 5 * outside.spreads[1]


def test_what_is_known_comes_back_from_a_checkpoint() -> None:
    made, fresh = two_clusters(), learner(Recipe(embedding_precision=20.0))
    fresh.restore(Checkpoint.from_bytes(made.checkpoint().to_bytes()))
    rng = np.random.default_rng(0)
    for place in range(3):
        z = made.features.features(cluster(rng, place))
        one, other = made.snapshot().outside(z), fresh.snapshot().outside(z)
        assert one is not None
        assert other is not None
        assert one.score == other.score
        np.testing.assert_allclose(one.levels, other.levels, atol=1e-5)


def test_a_checkpoint_from_before_there_was_a_density_is_read() -> None:
    kept = two_clusters().checkpoint()
    old = replace(kept, arrays={name: array for name, array in kept.arrays.items() if not name.startswith("density.")})
    made = two_clusters()
    made.restore(old)
    assert made.snapshot().outside(np.ones(DIMENSION + 1, np.float32)) is None
    made.learn(events(World(1), 20, first=made.position + 1))


def test_a_damaged_sample_is_refused_and_what_is_known_stays() -> None:
    made = two_clusters()
    kept = made.checkpoint()
    damaged = replace(kept, arrays={**kept.arrays, "density.rows": np.full((2, 3), 1.0)})
    before = made.snapshot().outside(np.ones(DIMENSION + 1, np.float32))
    with pytest.raises(StateError, match="sample of queries"):
        made.restore(damaged)
    after = made.snapshot().outside(np.ones(DIMENSION + 1, np.float32))
    assert before is not None
    assert after is not None
    assert before.score == after.score


def test_a_cold_start_calls_nothing_outside() -> None:
    made = learner()
    assert made.snapshot().outside(np.ones(DIMENSION + 1, np.float32)) is None
    made.learn(events(World(2), 150))
    assert made.snapshot().outside(np.full(DIMENSION + 1, 100.0, np.float32)) is None


def test_a_judgement_from_outside_counts_more() -> None:
    x = World(3).encoding()
    event = feedback_event(1, "small", x, 1.0)
    outside = msgspec.structs.replace(event, out_of_domain=1.0)
    halfway = msgspec.structs.replace(event, out_of_domain=0.5)
    counted = []
    for one in (event, halfway, outside):
        made = learner(Recipe(outside_judgement_weight=9.0))
        made.learn([one])
        counted.append(made.snapshot().judgements[0])
    assert counted == [1.0, 5.0, 9.0]
    made = learner()
    made.learn([msgspec.structs.replace(event, out_of_domain=float("nan"))])
    assert made.counts.refused == 1
    with pytest.raises(InvalidValueError, match="outside_judgement_weight"):
        Recipe(outside_judgement_weight=0.5)


def test_outcomes_and_other_metrics_say_nothing_of_what_is_known() -> None:
    made = learner()
    world = World(5)
    made.learn([event for event in events(world, 800) if event.outcome is not None])
    made.learn([feedback_event(1000 + n, "small", world.encoding(), 1.0, metric="tone") for n in range(400)])
    assert made.snapshot().outside(np.ones(DIMENSION + 1, np.float32)) is None


def history(features: Vector, quality: np.ndarray, unseen: Vector | None = None) -> CallHistory:
    nothing = np.full(len(features), np.nan)
    return CallHistory(
        features=features,
        tokens_in=np.full(len(features), 10.0),
        quality=quality,
        tokens_out=nothing,
        cost_usd=nothing,
        latency_s=nothing,
        ttft_s=nothing,
        unseen_features=unseen,
    )


def test_a_history_is_known_by_its_features_as_new_queries_have_them() -> None:
    rng, made = np.random.default_rng(1), learner()
    features = np.stack([PlainFeatures().features(cluster(rng, 0)) for _ in range(400)])
    unseen = features.copy()
    unseen[:, :2] = (0.9, 0.1)
    quality = np.where(np.arange(400) < 350, 0.5, np.nan)  # the last fifty were not judged
    for name in ("small", "middle"):
        made.learn_history(name, history(features, quality, unseen))  # asked the same: known once
    rows = made.checkpoint().arrays["density.rows"]
    assert rows.shape == (350, DIMENSION + 1)
    np.testing.assert_allclose(rows[:, :2], [[0.9, 0.1]] * 350, rtol=1e-6)
    with pytest.raises(InvalidValueError, match="unseen_features"):
        history(features, quality, unseen[:3])
