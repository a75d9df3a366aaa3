"""What every `mixllm.interfaces.Predictor` must do, as checks that any predictor can be run through.

`check_predictor` takes a function that makes new, untrained predictors. It knows the protocol alone: not what a
predictor predicts, nor what its state looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import Predictor
from mixllm.types import Estimate

__all__ = ["PREDICTOR_CHECKS", "PredictorTrial", "check_predictor"]

_NOT_FINITE = (float("nan"), float("inf"), float("-inf"))
_RELATIVE = 1e-6
_REPETITIONS = 200

Observation = tuple[NDArray[np.float64], float, float]
"""Features, target and weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorTrial:
    """What the checks need of a predictor.

    Parameters
    ----------
    make
        Makes a new, untrained predictor; two of them are alike.
    targets
        Targets that it can learn, at least two different ones.
    bad_targets
        Targets that it must refuse.
    counts_scatter
        Whether its std also counts the scatter of single targets, and may therefore rise where it learned.
    rng
        Draws features and targets.
    """

    make: Callable[[], Predictor]
    targets: Sequence[float]
    bad_targets: Sequence[float]
    counts_scatter: bool
    rng: np.random.Generator

    def features(self) -> NDArray[np.float64]:
        """Return features whose last one is the constant, shape (D,), as exact in float32 as in float64."""
        z = self.rng.uniform(-1.0, 1.0, self.make().dimension).astype(np.float32).astype(np.float64)
        z[-1] = 1.0
        return z

    def observations(self, count: int) -> list[Observation]:
        """Return `count` observations."""
        return [
            (self.features(), float(self.rng.choice(self.targets)), float(self.rng.integers(1, 4)))
            for _ in range(count)
        ]

    def trained(self, observations: Sequence[Observation]) -> Predictor:
        """Return a new predictor that has learned `observations`."""
        return _learn(self.make(), observations)


def check_predictor(
    make: Callable[[], Predictor],
    *,
    targets: Sequence[float] = (0.0, 0.3, 1.0),
    bad_targets: Sequence[float] = (),
    counts_scatter: bool = False,
    rng: np.random.Generator,
) -> None:
    """Run the whole contract; raises `AssertionError` where the predictor does not fulfil it.

    Parameters
    ----------
    make
        Makes a new, untrained predictor.
    targets
        Targets that it can learn, at least two different ones.
    bad_targets
        Targets that it must refuse, beside those that are not finite.
    counts_scatter
        Whether its std also counts the scatter of single targets (as that of a length does): the std may then rise
        where it learned, but not where it learned the same target again and again.
    rng
        Draws features and targets.
    """
    trial = PredictorTrial(
        make=make, targets=targets, bad_targets=(*_NOT_FINITE, *bad_targets), counts_scatter=counts_scatter, rng=rng
    )
    for check in PREDICTOR_CHECKS:
        check(trial)


def _starts_from_its_prior(trial: PredictorTrial) -> None:
    cold, other = trial.make(), trial.make()
    assert cold.observations == 0, "an untrained predictor has learned something"
    for _ in range(5):
        z = trial.features()
        first = cold.predict(z)
        assert np.isfinite([first.mean, first.std]).all(), f"an untrained predictor predicts {first}"
        assert first.std > 0, "an untrained predictor is certain"
        assert cold.predict(z) == first == other.predict(z), "untrained predictors made alike differ"
    assert cold.observations == 0, "predicting counts as learning"
    state = {name: np.zeros_like(array) for name, array in cold.state().items()}
    assert _same_state(cold.state(), state), "the additive state of an untrained predictor is not zero"


def _clones_untrained(trial: PredictorTrial) -> None:
    trained = trial.trained(trial.observations(20))
    before = trained.state()
    clone, cold = trained.clone(), trial.make()
    assert type(clone) is type(trained), f"the clone is a {type(clone).__name__}"
    assert clone.dimension == trained.dimension, "the clone has another dimension"
    assert clone.observations == 0, "the clone has learned something"
    z = trial.features()
    assert clone.predict(z) == cold.predict(z), "the clone does not predict as an untrained one"
    _learn(clone, trial.observations(3))
    assert _same_state(trained.state(), before), "what the clone learns changes the original"


def _moves_towards_the_target(trial: PredictorTrial) -> None:
    for target in trial.targets:
        z, model = trial.features(), trial.make()
        cold = abs(model.predict(z).mean - target)
        model.update(z, target)
        if not trial.counts_scatter:
            assert abs(model.predict(z).mean - target) <= cold * (1 + 1e-9) + 1e-12, "one update leads away from it"
        _learn(model, [(z, target, 1.0)] * _REPETITIONS)
        left = abs(model.predict(z).mean - target)
        assert left <= 0.5 * cold + 0.02 * abs(target) + 1e-9, f"after {_REPETITIONS} updates {left} is left of {cold}"


def _gets_surer(trial: PredictorTrial) -> None:
    if trial.counts_scatter:
        z, target = trial.features(), float(trial.targets[0])
        model = trial.make()
        cold = model.predict(z)
        _learn(model, [(z, target, 1.0)] * _REPETITIONS)
        warm = model.predict(z)
        assert warm.std / warm.mean <= cold.std / cold.mean, "the same target again and again makes it less sure"
        return
    model = trial.make()
    for z, target, weight in trial.observations(40):
        before = model.predict(z).std
        model.update(z, target, weight=weight)
        after = model.predict(z).std
        assert 0 < after <= before * (1 + 1e-9), f"the std rises from {before} to {after} where it learned"


def _keeps_its_state(trial: PredictorTrial) -> None:
    trained = trial.trained(trial.observations(30))
    state = trained.state()
    assert state, "the state is empty"
    kept = {name: array.copy() for name, array in state.items()}
    loaded = trial.trained(trial.observations(2))
    loaded.load_state(state)
    assert _same_state(loaded.state(), kept), "a loaded state is not the one that was saved"
    for array in state.values():
        array[...] = 7.0
    assert _same_state(trained.state(), kept), "writing into a saved state changes the predictor"
    assert _same_state(loaded.state(), kept), "writing into a loaded state changes the predictor"
    assert loaded.observations == trained.observations, "observations differ after loading"
    _assert_alike(trial, loaded, trained, "after loading")
    more = trial.observations(5)
    _assert_alike(trial, _learn(loaded, more), _learn(trained, more), "after loading and learning on")


def _merges_as_one(trial: PredictorTrial) -> None:
    parts = [trial.observations(count) for count in (15, 1, 25)]
    union = trial.trained([observation for part in parts for observation in part])
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        merged = trial.trained(parts[order[0]])
        for place in order[1:]:
            other = trial.trained(parts[place])
            before = other.state()
            merged.merge(other)
            assert _same_state(other.state(), before), "merging changes the other predictor"
        assert np.isclose(merged.observations, union.observations), "merged observations do not add up"
        _assert_alike(trial, merged, union, "of merged predictors and of one on the union")
    before = union.state()
    union.merge(trial.make())
    assert _same_state(union.state(), before), "merging an untrained predictor changes the state"


def _weighs_as_repetition(trial: PredictorTrial) -> None:
    observations = trial.observations(12)
    repeated = trial.make()
    for z, target, weight in observations:
        _learn(repeated, [(z, target, 1.0)] * int(weight))
    weighted = trial.trained(observations)
    assert np.isclose(weighted.observations, repeated.observations), "weights do not count as observations"
    _assert_alike(trial, weighted, repeated, "of weights and of repetitions")


def _refuses_what_it_cannot_learn(trial: PredictorTrial) -> None:
    model = trial.trained(trial.observations(10))
    kept = model.state()
    good, target = trial.features(), float(trial.targets[0])
    for wrong in _wrong_features(good):
        _refused(InvalidValueError, partial(model.update, wrong, target), f"features {wrong}")
        _refused(InvalidValueError, partial(model.predict, wrong), f"a prediction at {wrong}")
    for bad in trial.bad_targets:
        _refused(InvalidValueError, partial(model.update, good, bad), f"target {bad}")
    for weight in (0.0, -1.0, *_NOT_FINITE):
        _refused(InvalidValueError, partial(model.update, good, target, weight=weight), f"weight {weight}")
    assert _same_state(model.state(), kept), "a refused update changes the state"


def _refuses_damaged_state(trial: PredictorTrial) -> None:
    model = trial.trained(trial.observations(10))
    kept, z = model.state(), trial.features()
    prediction = model.predict(z)
    for damage, state in _damaged(kept).items():
        _refused(StateError, partial(model.load_state, state), f"a state with {damage}")
        assert _same_state(model.state(), kept), f"a refused state with {damage} changes the predictor"
        assert model.predict(z) == prediction, f"a refused state with {damage} changes predictions"


def _reads_both_widths(trial: PredictorTrial) -> None:
    wide, narrow = trial.make(), trial.make()
    for z, target, weight in trial.observations(10):
        wide.update(z, target, weight=weight)
        narrow.update(z.astype(np.float32), target, weight=weight)
        assert wide.predict(z) == wide.predict(z.astype(np.float32)), "float32 features predict otherwise"
    _assert_alike(trial, narrow, wide, "of float32 and of float64 features")


def _leaves_its_input_alone(trial: PredictorTrial) -> None:
    z, target = trial.features(), float(trial.targets[-1])
    kept, model = z.copy(), trial.make()
    model.update(z, target)
    estimate = model.predict(z)
    assert isinstance(estimate, Estimate), f"predict gives {type(estimate).__name__}, not an Estimate"
    assert np.array_equal(z, kept), "the features are changed"
    z[:] = 3.0
    assert model.predict(kept) == estimate, "the predictor holds on to the features that it was given"


PREDICTOR_CHECKS: tuple[Callable[[PredictorTrial], None], ...] = (
    _starts_from_its_prior,
    _clones_untrained,
    _moves_towards_the_target,
    _gets_surer,
    _keeps_its_state,
    _merges_as_one,
    _weighs_as_repetition,
    _refuses_what_it_cannot_learn,
    _refuses_damaged_state,
    _reads_both_widths,
    _leaves_its_input_alone,
)
"""The checks, in order."""


def _learn(model: Predictor, observations: Sequence[Observation]) -> Predictor:
    for z, target, weight in observations:
        model.update(z, target, weight=weight)
    return model


def _assert_alike(trial: PredictorTrial, one: Predictor, other: Predictor, what: str) -> None:
    for _ in range(5):
        z = trial.features()
        a, b = one.predict(z), other.predict(z)
        same = np.allclose([a.mean, a.std], [b.mean, b.std], rtol=_RELATIVE, atol=1e-9)
        assert same, f"predictions {what} differ: {a} and {b}"


def _same_state(one: dict[str, NDArray[np.float64]], other: dict[str, NDArray[np.float64]]) -> bool:
    return set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)


def _wrong_features(good: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    wrong = [good[:-1], np.append(good, 1.0), good[None, :]]
    for value in _NOT_FINITE:
        spoilt = good.copy()
        spoilt[0] = value
        wrong.append(spoilt)
    return wrong


def _damaged(state: dict[str, NDArray[np.float64]]) -> dict[str, dict[str, NDArray[np.float64]]]:
    damaged: dict[str, dict[str, NDArray[np.float64]]] = {"no array": {}, "a stray array": {**state, "x": np.zeros(1)}}
    for name, array in state.items():
        damaged[f"no {name!r}"] = {other: values for other, values in state.items() if other != name}
        damaged[f"one axis more in {name!r}"] = {**state, name: array[None]}
        damaged[f"an empty {name!r}"] = {**state, name: array[:0]}
        damaged[f"words in {name!r}"] = {**state, name: array.astype("<U8").astype(object)}
        for value in _NOT_FINITE:
            for place in (0, -1):
                spoilt = array.copy()
                spoilt.flat[place] = value
                damaged[f"{value} at place {place} of {name!r}"] = {**state, name: spoilt}
    return damaged


def _refused(kind: type[Exception], call: Callable[[], object], what: str) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{what} is not refused")
