"""What was learned all at once equals what was learned event by event."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.learning.learners import forecasts, make, same
from tests.learning.world import DIMENSION, PlainFeatures, World, feedback_event, outcome_event, spec

from mixllm.errors import InvalidValueError, UnknownLLMError
from mixllm.learning import Learner, Recipe
from mixllm.learning.history import CallHistory
from mixllm.types import LearningEvent, Outcome

FEATURES = PlainFeatures()


def calls(count: int, *, seed: int = 0) -> tuple[list[NDArray[np.float32]], dict[str, NDArray[np.float64]]]:
    """Return encodings and what happened, with gaps of every kind."""
    world = World(seed)
    encodings = [world.encoding() for _ in range(count)]
    outcomes = [world.outcome("middle", x) for x in encodings]
    arrays = {
        "tokens_in": world.rng.integers(1, 2000, count).astype(np.float64),
        "quality": np.array([world.judged("middle", x) for x in encodings]),
        "tokens_out": np.array([float(one.tokens_out or 0) for one in outcomes]),
        "cost_usd": world.rng.uniform(1e-5, 1e-2, count),
        "latency_s": np.array([float(one.latency_s or 0) for one in outcomes]),
        "ttft_s": np.full(count, 0.5),
    }
    for name, share in (("quality", 0.3), ("tokens_out", 0.2), ("cost_usd", 0.3), ("latency_s", 0.3), ("ttft_s", 0.5)):
        arrays[name][world.rng.uniform(size=count) < share] = np.nan
    return encodings, arrays


def history(encodings: list[NDArray[np.float32]], arrays: dict[str, NDArray[np.float64]]) -> CallHistory:
    return CallHistory(features=np.array([FEATURES.features(x) for x in encodings]), **arrays)


def taught_singly(
    learner: Learner, encodings: list[NDArray[np.float32]], arrays: dict[str, NDArray[np.float64]]
) -> Learner:
    def known(name: str, row: int) -> float | None:
        value = float(arrays[name][row])
        return None if np.isnan(value) else value

    events: list[LearningEvent] = []
    for row, x in enumerate(encodings):
        tokens_out = known("tokens_out", row)
        outcome = Outcome(
            llm="middle",
            tokens_out=None if tokens_out is None else int(tokens_out),
            cost_usd=known("cost_usd", row),
            latency_s=known("latency_s", row),
            ttft_s=known("ttft_s", row),
        )
        events.append(outcome_event(len(events) + 1, "middle", x, outcome, tokens_in=int(arrays["tokens_in"][row])))
        quality = known("quality", row)
        if quality is not None:
            events.append(feedback_event(len(events) + 1, "middle", x, quality))
    learner.learn(events)
    assert learner.counts.refused == 0
    return learner


@pytest.mark.parametrize("count", [1, 7, 300])
def test_at_once_equals_one_by_one(count: int) -> None:
    encodings, arrays = calls(count)
    single, at_once = taught_singly(make(reference="large"), encodings, arrays), make(reference="large")
    at_once.learn_history("middle", history(encodings, arrays))
    one, other = single.checkpoint(), at_once.checkpoint()
    kept = ".drift.", "spent", "judging."  # A history comes from no source of feedback, and tests nothing.
    learned = {name: array for name, array in one.arrays.items() if not any(part in name for part in kept)}
    assert learned.keys() == {name for name in other.arrays if not any(part in name for part in kept)}
    for name, array in learned.items():
        if name not in ("scale", "watch") and ".latency." not in name and ".pace." not in name:
            np.testing.assert_allclose(other.arrays[name], array, rtol=1e-9, atol=1e-12, err_msg=name)
    for x in encodings[:5]:
        mine, theirs = forecasts(at_once, x), forecasts(single, x)
        for llm, forecast in mine.items():
            assert forecast.quality.mean == pytest.approx(theirs[llm].quality.mean, abs=1e-6)
            assert forecast.quality.std == pytest.approx(theirs[llm].quality.std, rel=1e-4)
            assert forecast.cost_usd.mean == pytest.approx(theirs[llm].cost_usd.mean, rel=1e-5)
            assert forecast.latency_s.mean == pytest.approx(theirs[llm].latency_s.mean, rel=0.05)


def test_older_latencies_than_ten_windows_do_not_count() -> None:
    encodings, arrays = calls(3000)
    arrays["latency_s"][:1200] = 50.0
    single, at_once = taught_singly(make(), encodings, arrays), make()
    at_once.learn_history("middle", history(encodings, arrays))
    x = encodings[0]
    assert forecasts(at_once, x)["middle"].ttft_s.mean == pytest.approx(
        forecasts(single, x)["middle"].ttft_s.mean, rel=1e-3
    )


def test_a_long_window_remembers_what_is_in_it() -> None:
    recipe = Recipe(latency_window_calls=2_000.0)
    encodings, arrays = calls(2500)
    arrays["latency_s"][:1250] *= 3.0
    single, at_once = taught_singly(make(recipe=recipe), encodings, arrays), make(recipe=recipe)
    at_once.learn_history("middle", history(encodings, arrays))
    x = encodings[0]
    assert forecasts(at_once, x)["middle"].latency_s.mean == pytest.approx(
        forecasts(single, x)["middle"].latency_s.mean, rel=0.01
    )


def test_the_references_mean_cost_is_the_scale() -> None:
    encodings, arrays = calls(50)
    learner = make(reference="middle")
    learner.learn_history("middle", history(encodings, arrays))
    total, count = learner.checkpoint().arrays["scale"]
    assert (count, total) == (
        (~np.isnan(arrays["cost_usd"])).sum(),
        pytest.approx(np.nansum(arrays["cost_usd"])),
    )
    assert learner.snapshot().cost_scale_usd == pytest.approx(total / count, rel=0.05)
    before = learner.snapshot().cost_scale_usd
    learner.learn_history("small", history(encodings, arrays))
    assert learner.snapshot().cost_scale_usd == before


def test_events_teach_on_top_of_history() -> None:
    encodings, arrays = calls(40)
    learner = make()
    learner.learn_history("middle", history(encodings, arrays))
    assert learner.position == 0
    judged = learner.snapshot().judgements[1]
    assert learner.learn([feedback_event(1, "middle", encodings[0], 1.0)]) == 1
    assert learner.snapshot().judgements[1] == judged + 1


def test_nothing_known_teaches_nothing() -> None:
    encodings, arrays = calls(5)
    unknown = {name: np.full(5, np.nan) for name in arrays} | {"tokens_in": arrays["tokens_in"]}
    learner, before = make(), make().checkpoint()
    learner.learn_history("middle", history(encodings, unknown))
    learner.learn_history("middle", empty())
    assert same(learner.checkpoint(), before)


def empty() -> CallHistory:
    nothing = {name: np.empty(0) for name in ("tokens_in", "quality", "tokens_out", "cost_usd", "latency_s", "ttft_s")}
    return CallHistory(features=np.empty((0, DIMENSION + 1), np.float32), **nothing)


@pytest.mark.parametrize(
    ("parameter", "changed"),
    [
        ("quality", {"quality": np.array([0.5, 1.5])}),
        ("quality", {"quality": np.array([0.5, -0.1])}),
        ("quality", {"quality": np.array([0.5])}),
        ("tokens_in", {"tokens_in": np.array([1.0, np.nan])}),
        ("tokens_in", {"tokens_in": np.array([1.0, -1.0])}),
        ("tokens_out", {"tokens_out": np.array([np.inf, 1.0])}),
        ("tokens_out", {"tokens_out": np.array([-2.0, 1.0])}),
        ("cost_usd", {"cost_usd": np.array([-2.0, 1.0])}),
        ("latency_s", {"latency_s": np.array([1.0, -0.5])}),
        ("ttft_s", {"ttft_s": np.array([np.inf, 0.5])}),
        ("features", {"features": np.full((2, DIMENSION + 1), np.nan, np.float32)}),
        ("features", {"features": np.full((2, DIMENSION + 1), 2e3, np.float32)}),
        ("features", {"features": np.ones(2, np.float32)}),
    ],
)
def test_what_cannot_be_learned_is_no_history(parameter: str, changed: dict[str, Any]) -> None:
    encodings, arrays = calls(2)
    given: dict[str, Any] = {"features": np.array([FEATURES.features(x) for x in encodings]), **arrays, **changed}
    with pytest.raises(InvalidValueError) as caught:
        CallHistory(**given)
    assert caught.value.parameter == parameter


def test_another_width_and_another_llm_are_refused() -> None:
    encodings, arrays = calls(20)
    narrow = CallHistory(features=np.ones((20, 3), np.float32), **arrays)
    for missing in ("ttft_s", "quality", "tokens_out"):
        arrays[missing][:] = np.nan
        learner = make([spec("a"), spec("middle")])
        before = learner.checkpoint()
        with pytest.raises(InvalidValueError, match="features"):
            learner.learn_history("middle", narrow)
        assert same(learner.checkpoint(), before)
    with pytest.raises(UnknownLLMError, match="midle"):
        make().learn_history("midle", history(encodings, arrays))
