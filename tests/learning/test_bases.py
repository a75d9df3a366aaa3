"""Bases: kept and read back, under the online models of their LLMs, and never mixed up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.learning.learners import forecasts, same
from tests.learning.world import DIMENSION, SPECS, PlainFeatures, World, events, feedback_event, spec

from mixllm.errors import InvalidValueError, StateError
from mixllm.learning import Bases, Learner
from mixllm.learning.history import CallHistory
from mixllm.learning.offline import forecast_batch
from mixllm.predictors import FrozenLinear, FrozenNeighbours, FrozenRegressor, length_features, unit_rows
from mixllm.types import Outcome

FEATURES = PlainFeatures()
D = FEATURES.dimension


def line(*, level: float, slope: float = 0.0, dimension: int = D) -> FrozenLinear:
    weights = np.zeros(dimension, np.float32)
    weights[0], weights[-1] = slope, level
    return FrozenLinear(weights=weights)


def near(seed: int, *, vectors: int = 0) -> FrozenNeighbours:
    rows = unit_rows(np.random.default_rng(vectors).normal(size=(30, D)).astype(np.float32))
    targets = np.random.default_rng(seed).random(30, np.float32)
    return FrozenNeighbours(vectors=rows, targets=targets, neighbours=5, weighting="uniform")


def some(**quality: FrozenRegressor) -> Bases:
    return Bases(
        quality=quality or {"small": line(level=0.3, slope=0.2), "middle": near(1), "gone": near(2)},
        length={"small": line(level=5.0, dimension=D + 1)},
    )


def learner(bases: Bases | None) -> Learner:
    return Learner(features=FEATURES, encoding_dimension=DIMENSION, specs=SPECS, bases=bases)


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_folder_gives_back_what_was_written(tmp_path: Path) -> None:
    bases = some()
    assert not Bases.is_in(tmp_path)
    bases.to_folder(tmp_path)
    assert Bases.is_in(tmp_path)
    read = Bases.from_folder(tmp_path)
    assert read.digest == bases.digest
    assert (
        read.kinds()
        == bases.kinds()
        == {
            "quality": {"gone": "neighbours", "middle": "neighbours", "small": "linear"},
            "length": {"small": "linear"},
        }
    )
    rows = np.random.default_rng(3).normal(size=(9, D)).astype(np.float32)
    for name, model in bases.quality.items():
        assert np.array_equal(read.quality[name].predict(rows), model.predict(rows))
    assert sum(name.endswith(".vectors") for name in bases.arrays()) == 1, "equal vectors are kept once"


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"has no bases .*Train again"):
        Bases.from_folder(tmp_path)
    some().to_folder(tmp_path)
    path = tmp_path / "bases.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"checksum.*Train again"):
        Bases.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("kinds", "arrays", "what"),
    [
        ({}, {}, "at least one base"),
        ({"quality": {"a": "linear"}}, {}, "arrays"),
        ({"quality": {"a": "oracle"}}, {"quality.0.weights": np.ones(3)}, "oracle"),
        ({"price": {"a": "linear"}}, {}, "price"),
        ({"quality": {"a": "linear"}}, {"price.0.weights": np.ones(3)}, "belongs to no base"),
        ({"quality": {"a": "linear"}}, {"quality.0.weights": np.ones(3), "length.0.weights": np.ones(3)}, "no LLM"),
        ({"quality": {"a": "linear"}}, {"quality.0.weights": np.full(3, np.nan)}, "finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    kinds: Mapping[str, Mapping[str, str]], arrays: Mapping[str, NDArray[Any]], what: str
) -> None:
    with pytest.raises(StateError, match=what):
        Bases.from_arrays(kinds, arrays)


def test_the_digest_tells_bases_apart() -> None:
    digests = {
        some().digest,
        some(small=line(level=0.3)).digest,
        some(small=line(level=0.31)).digest,
        some(middle=line(level=0.3)).digest,
        Bases(quality={}, length={"small": line(level=0.3)}).digest,
    }
    assert len(digests) == 5
    assert some().digest == some().digest


def test_bases_of_nothing_or_of_other_features_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="at least one base"):
        Bases(quality={}, length={})
    with pytest.raises(InvalidValueError, match="one dimension"):
        Bases(quality={"a": line(level=1.0), "b": line(level=1.0, dimension=D + 1)}, length={})
    with pytest.raises(InvalidValueError, match="base of quality of a"):
        learner(Bases(quality={"a": line(level=1.0, dimension=D + 1)}, length={}))
    with pytest.raises(InvalidValueError, match="base of length of a"):
        learner(Bases(quality={}, length={"a": line(level=1.0)}))


# --- in the learner ---------------------------------------------------------------------------------------------------


def test_a_forecast_is_base_plus_posterior() -> None:
    world, made = World(1), learner(some())
    x = world.encoding()
    cold = forecasts(made, x)
    assert cold["small"].quality.mean == pytest.approx(0.3 + 0.2 * x[0], abs=1e-6)
    variance = made.recipe.length_noise_variance
    assert cold["small"].tokens_out.mean == pytest.approx(np.exp(5.0 + variance / 2) - 1, rel=1e-5)
    assert cold["large"] == forecasts(learner(None), x)["large"]
    made.learn([feedback_event(seq, "small", world.encoding(), 1.0) for seq in range(1, 500)])
    assert forecasts(made, x)["small"].quality.mean > 0.6, "it learns what the base leaves, towards the truth"


def test_forecasts_stay_in_range() -> None:
    made = learner(some(small=line(level=7.0), large=line(level=-7.0)))
    found = forecasts(made, World(1).encoding())
    assert (found["small"].quality.mean, found["large"].quality.mean) == (1.0, 0.0)


def test_residuals_may_be_of_any_size_but_judgements_may_not() -> None:
    world, made = World(2), learner(some(small=line(level=3.0)))
    made.learn([feedback_event(1, "small", world.encoding(), 0.1)])
    assert made.counts.feedback == 1
    unknown = np.full(1, np.nan)
    history = CallHistory(
        features=np.ones((1, D), np.float32),
        tokens_in=np.ones(1),
        quality=np.array([0.5]),
        tokens_out=unknown,
        cost_usd=unknown,
        latency_s=unknown,
        ttft_s=unknown,
        expected_quality=np.array([3.0]),
    )
    made.learn_history("small", history)
    before = made.checkpoint()
    assert float(before.arrays["0.quality.sums"][1]) == 2.0
    with pytest.raises(InvalidValueError, match="expected"):
        made.learn_history("large", history)
    made.learn_history("small", replace(history, expected_quality=unknown))
    assert same(made.checkpoint(), before), "calls without an expectation teach no residual"


def test_llms_with_a_base_share_nothing_with_those_without() -> None:
    world = World(3)
    batch = events(world, 600)
    bases = Bases(quality={"small": line(level=0.2)}, length={"small": line(level=1.0, dimension=D + 1)})
    based = learner(bases)
    based.learn(batch)
    alone = Learner(features=FEATURES, encoding_dimension=DIMENSION, specs=SPECS[1:])
    alone.learn(batch)
    x = world.encoding()
    found, expected = forecasts(based, x), forecasts(alone, x)
    for name in ("middle", "large"):
        assert found[name].quality.mean == pytest.approx(expected[name].quality.mean, abs=1e-6)
        assert found[name].tokens_out.mean == pytest.approx(expected[name].tokens_out.mean, rel=1e-5)
    based.put_llm(spec("new"))
    alone.put_llm(spec("new"))
    # What is expected of a newcomer on average rests on all; how that depends on the query, on those without a base.
    other = world.encoding()
    rises = [
        forecasts(made, other)["new"].quality.mean - forecasts(made, x)["new"].quality.mean for made in (based, alone)
    ]
    assert rises[0] == pytest.approx(rises[1], abs=1e-6)


def test_an_llm_that_returns_has_its_base_again() -> None:
    made = learner(some())
    x = World(4).encoding()
    before = forecasts(made, x)
    made.drop_llm("small")
    assert set(forecasts(made, x)) == {"middle", "large"}
    made.put_llm(SPECS[0])
    again = {name: forecast.quality.mean for name, forecast in forecasts(made, x).items()}
    assert again == pytest.approx({name: forecast.quality.mean for name, forecast in before.items()}, abs=1e-6)
    made.put_llm(spec("gone"))
    expected = made.bases.quality["gone"].predict(FEATURES.features(x)[None])[0] if made.bases else None
    assert forecasts(made, x)["gone"].quality.mean == pytest.approx(expected)


def test_a_checkpoint_is_of_its_bases() -> None:
    world, made = World(5), learner(some())
    made.learn(events(world, 50))
    checkpoint = made.checkpoint()
    x = world.encoding()
    again = learner(some())
    again.restore(checkpoint)
    assert forecasts(again, x) == forecasts(made, x)
    for other in (learner(None), learner(some(small=line(level=0.3)))):
        with pytest.raises(StateError, match="learned on features"):
            other.restore(checkpoint)
    with pytest.raises(StateError, match="learned on features"):
        made.restore(learner(None).checkpoint())
    assert learner(None).checkpoint().features == FEATURES.fingerprint, "without bases, it is the features alone"


def test_many_queries_are_forecast_like_one() -> None:
    world, made = World(6), learner(some())
    made.learn(events(world, 200))
    snapshot = made.snapshot()
    z = np.stack([FEATURES.features(world.encoding()) for _ in range(5)])
    tokens = np.array([1.0, 30.0, 300.0, 4_000.0, 9.0])
    batch = forecast_batch(snapshot, z, tokens)
    for row in range(5):
        one = snapshot.forecasts(z[row], tokens_in=int(tokens[row]))
        assert batch.quality[row] == pytest.approx([f.quality.mean for f in one], abs=1e-5)
        assert batch.cost_usd[row] == pytest.approx([f.cost_usd.mean for f in one], rel=1e-4)
        assert batch.cost_std_usd[row] == pytest.approx([f.cost_usd.std for f in one], rel=1e-4)


def test_the_scatter_of_bills_widens_the_cost() -> None:
    steady, wild = learner(None), learner(None)
    world = World(7)
    rng = np.random.default_rng(7)
    batch = []
    for event in events(world, 1_200):
        outcome = event.outcome
        if outcome is not None and event.llm == "large":
            listed = 10e-6 * (300 + (outcome.tokens_out or 0))
            outcome = Outcome(tokens_out=outcome.tokens_out, cost_usd=listed * float(np.exp(rng.normal(0, 0.6))))
            fields = {name: getattr(event, name) for name in event.__struct_fields__}
            batch.append(type(event)(**{**fields, "outcome": outcome}))
        else:
            batch.append(event)
    steady.learn(events(World(7), 1_200))
    wild.learn(batch)
    x = World(8).encoding()
    few, many = (forecasts(one, x)["large"].cost_usd for one in (steady, wild))
    assert many.std / many.mean > few.std / few.mean + 0.2
    assert many.std / many.mean == pytest.approx(np.hypot(0.2, np.sqrt(np.expm1(0.36))), rel=0.25)
    assert length_features(FEATURES.features(x), 300).shape == (D + 1,)
