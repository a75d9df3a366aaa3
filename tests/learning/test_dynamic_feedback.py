"""The shared perceptron: it follows thumbs, LLMs may come, and its gradient is the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mixllm.errors import InvalidValueError, StateError
from mixllm.learning.dynamic_feedback import DynamicFeedback

DIMENSION = 4
Z = np.array([1.0, -0.5, 0.25, 1.0], np.float32)


def taught(seed: int = 0, *, count: int = 1500, llms: tuple[str, ...] = ("small", "large")) -> DynamicFeedback:
    """Return scores after thumbs: small is good where the first feature is positive, large where it is not."""
    rng = np.random.default_rng(seed)
    scores = DynamicFeedback(dimension=DIMENSION)
    for _ in range(count):
        z = np.append(rng.normal(size=DIMENSION - 1), 1.0)
        llm = llms[int(rng.integers(len(llms)))]
        good = (z[0] > 0) == (llm == "small")
        scores.learn(llm, z, float(rng.random() < (0.9 if good else 0.2)), expected=0.55)
    return scores


def test_it_prefers_what_got_thumbs_up_where_it_got_them() -> None:
    frozen = taught().freeze(("small", "large"))
    here, there = frozen.predict(np.array([1.5, 0, 0, 1.0])), frozen.predict(np.array([-1.5, 0, 0, 1.0]))
    assert here[0] > here[1] + 0.05
    assert there[1] > there[0] + 0.05
    assert np.abs([here, there]).max() <= 0.2, "no further than its strength"


def test_without_thumbs_it_corrects_nothing() -> None:
    assert np.array_equal(DynamicFeedback(dimension=DIMENSION).freeze(("a", "b")).predict(Z), [0.0, 0.0])
    frozen = taught().freeze(("small", "large", "newcomer"))
    assert frozen.predict(Z)[2] == 0.0
    assert frozen.predict(np.stack([Z, -Z])).shape == (2, 3)
    assert np.allclose(frozen.predict(np.stack([Z, -Z]))[0], frozen.predict(Z))


def test_an_llm_may_come_at_run_time() -> None:
    scores = taught()
    for _ in range(400):
        scores.learn("newcomer", Z, 1.0, expected=0.5)
    assert scores.llms == ("small", "large", "newcomer")
    assert scores.freeze(("large", "newcomer")).predict(Z)[1] > 0.02


def test_an_llm_that_is_as_good_as_was_expected_is_not_raised_for_being_asked_often() -> None:
    rng = np.random.default_rng(5)
    scores = DynamicFeedback(dimension=DIMENSION)
    for number in range(3000):
        llm = "small" if number % 10 else "large"
        scores.learn(llm, Z, float(rng.random() < 0.8), expected=0.8)
    small, large = scores.freeze(("small", "large")).predict(Z)
    assert abs(small - large) < 0.08


def test_confidence_grows_with_thumbs() -> None:
    counts = [0, 1, 10, 100, 1000]
    found = []
    for count in counts:
        scores = DynamicFeedback(dimension=DIMENSION)
        for number in range(count):
            scores.learn("small", Z, float(number % 2), expected=0.5)
        found.append(scores.confidence("small"))
    assert found == sorted(found)
    assert found[0] == 0.0
    assert 0.9 < found[-1] < 1.0


def test_the_gradient_is_that_of_the_log_probability() -> None:
    scores = taught(count=50)
    z = Z.astype(np.float64)
    gradient = scores._gradient(1, z, 1.0)
    for name, array in scores._weights.items():
        for place in ((0,), (-1,)) if array.ndim == 1 else ((0, 0), (-1, -1)):
            step, before = 1e-6, array[place]
            found = []
            for sign in (1, -1):
                array[place] = before + sign * step
                vectors = np.hstack([np.tile(z, (2, 1)), scores._weights["llms"]])
                first = np.tanh(vectors @ scores._weights["first"] + scores._weights["first_bias"])
                second = np.tanh(first @ scores._weights["second"] + scores._weights["second_bias"])
                logits = second @ scores._weights["third"]
                found.append(logits[1] - np.log(np.exp(logits).sum()))
            array[place] = before
            assert gradient[name][place] == pytest.approx((found[0] - found[1]) / (2 * step), abs=1e-7), name


def test_the_same_thumbs_give_the_same_scores_across_a_restart() -> None:
    whole, again = taught(3), DynamicFeedback(dimension=DIMENSION)
    again.load_state(*whole.state())
    for scores in (whole, again):
        scores.learn("small", Z, 1.0, expected=0.5)
        scores.learn("newcomer", Z, 0.0, expected=0.5)
    for name, array in whole.state()[0].items():
        assert np.array_equal(again.state()[0][name], array), name
    assert np.array_equal(taught(3).freeze(("small",)).predict(Z), taught(3).freeze(("small",)).predict(Z))


def test_merging_adds_thumbs_and_averages_weights() -> None:
    one, other = taught(1), taught(2, llms=("small", "large", "third"))
    one.merge(other)
    assert set(one.llms) == {"small", "large", "third"}
    assert one.state()[0]["thumbs"][:, 0].sum() == 3000
    untouched = taught(1)
    untouched.merge(DynamicFeedback(dimension=DIMENSION))
    assert np.allclose(untouched.freeze(("small",)).predict(Z), taught(1).freeze(("small",)).predict(Z))
    with pytest.raises(InvalidValueError):
        one.merge(DynamicFeedback(dimension=DIMENSION + 1))


@pytest.mark.parametrize(
    ("features", "thumb"), [(Z, 12.0), (Z, np.nan), (Z[:2], 1.0), (np.full(DIMENSION, np.nan), 1.0)]
)
def test_what_does_not_fit_is_refused(features: Any, thumb: float) -> None:
    scores = taught(count=20)
    before = scores.state()[0]
    with pytest.raises(InvalidValueError):
        scores.learn("small", features, thumb, expected=0.5)
    assert all(np.array_equal(array, before[name]) for name, array in scores.state()[0].items())


@pytest.mark.parametrize("change", [{"dimension": 0}, {"hidden": 0}, {"learning_rate": 0.0}, {"strength": 1.5}])
def test_bad_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        DynamicFeedback(**{"dimension": DIMENSION, **change})


@pytest.mark.parametrize("name", ["weights.first", "means.llms", "steps", "thumbs"])
def test_a_damaged_state_is_refused(name: str) -> None:
    scores = taught(count=20)
    arrays, llms = scores.state()
    with pytest.raises(StateError, match="Load another checkpoint"):
        scores.load_state({**arrays, name: arrays[name] * np.nan}, llms)
    with pytest.raises(StateError, match="Load another checkpoint"):
        scores.load_state({key: array for key, array in arrays.items() if key != name}, llms)
