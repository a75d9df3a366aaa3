"""Every predictor passes the suite, at parameters off their usual; broken ones do not."""

from __future__ import annotations

import copy
import functools
import math
import traceback
from collections.abc import Callable, Mapping
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.conformance.predictor import PREDICTOR_CHECKS, check_predictor
from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import FloatArray, Predictor
from mixllm.learning import Recipe
from mixllm.predictors import BayesianLinear, BlockPrior, LengthPredictor, QualityPredictor
from mixllm.types import Estimate

PLAIN = BlockPrior(tags=0, embedding=3, tag_precision=1, embedding_precision=1, bias_precision=1, bias_mean=0.0)
ODD = BlockPrior(tags=4, embedding=2, tag_precision=0.3, embedding_precision=7.5, bias_precision=2.25, bias_mean=0.35)
LONG = BlockPrior(
    tags=2, embedding=3, tag_precision=0.5, embedding_precision=4.0, bias_precision=0.7, bias_mean=math.log1p(350.0)
)


@pytest.mark.parametrize("prior", [PLAIN, ODD], ids=["plain", "odd"])
@pytest.mark.parametrize("noise_variance", [0.05, 1.0])
def test_bayesian_linear_passes(prior: BlockPrior, noise_variance: float) -> None:
    check_predictor(
        lambda: BayesianLinear(prior=prior, noise_variance=noise_variance),
        targets=(-2.0, 0.0, 3.5),
        rng=np.random.default_rng(1),
    )


@pytest.mark.parametrize("prior", [PLAIN, ODD], ids=["plain", "odd"])
def test_quality_predictor_passes(prior: BlockPrior) -> None:
    check_predictor(
        lambda: QualityPredictor(prior=prior, noise_variance=0.07),
        bad_targets=(-0.01, 1.01),
        rng=np.random.default_rng(2),
    )


@pytest.mark.parametrize("noise_variance", [0.1, 0.8])
def test_length_predictor_passes(noise_variance: float) -> None:
    check_predictor(
        lambda: LengthPredictor(prior=LONG, noise_variance=noise_variance),
        targets=(3.0, 80.0, 2_000.0),
        bad_targets=(-1.0,),
        counts_scatter=True,
        rng=np.random.default_rng(3),
    )


def test_the_predictors_of_the_default_recipe_pass() -> None:
    model = Recipe().new_model(level=0.6, tags=5, embedding=8)
    check_predictor(model.quality.clone, bad_targets=(2.0,), rng=np.random.default_rng(4))
    check_predictor(
        model.length.clone,
        targets=(10.0, 900.0),
        bad_targets=(-1.0,),
        counts_scatter=True,
        rng=np.random.default_rng(5),
    )


# --- planted faults: a sound predictor, and one for each thing that can be wrong with it -----------------------------


class Sound(BayesianLinear):
    """A sound predictor that others break."""

    def __init__(self) -> None:
        super().__init__(prior=ODD, noise_variance=0.2)

    def clone(self) -> Self:
        return type(self)()


class LearnsFromTheStart(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.update(np.ones(self.dimension), 0.5)


class InvertedColdStd(Sound):
    def predict(self, features: FloatArray) -> Estimate:
        estimate = super().predict(features)
        return Estimate(mean=estimate.mean, std=0.0 if self.observations == 0 else estimate.std)


class PredictingLearns(Sound):
    def predict(self, features: FloatArray) -> Estimate:
        estimate = super().predict(features)
        self._weight += 1.0
        return estimate


class ClonesTrained(Sound):
    def clone(self) -> Self:
        return copy.deepcopy(self)


class ClonesShareState(Sound):
    def clone(self) -> Self:
        clone = super().clone()
        clone._moment = self._moment
        return clone


class StopsLearning(Sound):
    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        if self.observations < 20:
            super().update(features, target, weight=weight)


class LearnsTheOpposite(Sound):
    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        super().update(features, -target, weight=weight)


class StdGrows(Sound):
    def predict(self, features: FloatArray) -> Estimate:
        estimate = super().predict(features)
        return Estimate(mean=estimate.mean, std=estimate.std * math.exp(self.observations / 10))


class ForgetsTheMoment(Sound):
    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        super().load_state({**state, "moment": np.zeros_like(state["moment"])})


class HandsOutItsState(Sound):
    def state(self) -> dict[str, NDArray[np.float64]]:
        return {**super().state(), "gram": self._gram}


class MergesHalf(Sound):
    def merge(self, other: Self) -> None:
        super().merge(other)
        self._weight -= other._weight / 2


class MergesWithTheInformationOnly(Sound):
    def merge(self, other: Self) -> None:
        self._moment += other._moment
        self._weight += other._weight
        self._square += other._square
        self._refactor()


class MergeEmptiesTheOther(Sound):
    def merge(self, other: Self) -> None:
        super().merge(other)
        other._moment[:] = 0.0


class IgnoresWeights(Sound):
    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        super().update(features, target)


class CountsWeightsTwice(Sound):
    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        super().update(features, target, weight=weight)
        self._weight += weight - 1.0


class TakesNaN(Sound):
    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        super().update(features, 0.0 if math.isnan(target) else target, weight=weight)


class TakesNegativeWeights(Sound):
    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        super().update(features, target, weight=abs(weight))


class TakesLongFeatures(Sound):
    def _checked(self, features: FloatArray) -> NDArray[np.float64]:
        return super()._checked(np.asarray(features, np.float64).reshape(-1)[: self.dimension])


class RefusesTooLate(Sound):
    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        self._weight += 1.0
        super().update(features, target, weight=weight)
        self._weight -= 1.0


class LoadsPartly(Sound):
    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        sums = state.get("sums")
        if sums is not None and sums.dtype != object and sums.shape == (2,):
            self._square = float(sums[0])
        super().load_state(state)


class RaisesKeyErrors(Sound):
    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        state["moment"]
        super().load_state(state)


class RoundsToFloat32(Sound):
    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        scale = 1.0 if features.dtype == np.float64 else 1.001
        super().update(features, target * scale, weight=weight)


class WritesIntoFeatures(Sound):
    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        super().update(features, target, weight=weight)
        features[0] = 0.0


class KeepsFeatures(Sound):
    """Predicts well as long as nobody touches the array that it was given."""

    given: FloatArray = np.zeros(1)
    as_given: FloatArray = np.zeros(1)

    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        super().update(features, target, weight=weight)
        self.given, self.as_given = features, features.copy()

    def predict(self, features: FloatArray) -> Estimate:
        estimate = super().predict(features)
        return Estimate(mean=estimate.mean + float(self.given[0] - self.as_given[0]), std=estimate.std)


FAULTY: list[Callable[[], Predictor]] = [
    LearnsFromTheStart,
    InvertedColdStd,
    PredictingLearns,
    ClonesTrained,
    ClonesShareState,
    StopsLearning,
    LearnsTheOpposite,
    StdGrows,
    ForgetsTheMoment,
    HandsOutItsState,
    MergesHalf,
    MergesWithTheInformationOnly,
    MergeEmptiesTheOther,
    IgnoresWeights,
    CountsWeightsTwice,
    TakesNaN,
    TakesNegativeWeights,
    TakesLongFeatures,
    RefusesTooLate,
    LoadsPartly,
    RoundsToFloat32,
    WritesIntoFeatures,
    KeepsFeatures,
]


def test_the_sound_predictor_passes() -> None:
    check_predictor(Sound, targets=(0.0, 0.4, 2.0), rng=np.random.default_rng(6))


@functools.cache
def broken_checks(faulty: Callable[[], Predictor]) -> frozenset[str]:
    """Return the names of the functions on the way to the suite's first complaint; none where it has none."""
    try:
        check_predictor(faulty, targets=(0.0, 0.4, 2.0), rng=np.random.default_rng(7))
    except AssertionError as error:
        return frozenset(frame.name for frame in traceback.extract_tb(error.__traceback__))
    return frozenset()


@pytest.mark.parametrize("faulty", FAULTY)
def test_planted_faults_are_found(faulty: Callable[[], Predictor]) -> None:
    assert broken_checks(faulty)


def test_another_error_than_the_right_one_is_found() -> None:
    with pytest.raises(KeyError, match="moment"):
        check_predictor(RaisesKeyErrors, rng=np.random.default_rng(8))


def test_a_target_that_should_be_refused_is_found() -> None:
    with pytest.raises(AssertionError, match=r"target 1\.5 is not refused"):
        check_predictor(Sound, bad_targets=(1.5,), rng=np.random.default_rng(9))


def test_no_check_is_idle() -> None:
    found = frozenset().union(*(broken_checks(faulty) for faulty in FAULTY))
    assert {check.__name__ for check in PREDICTOR_CHECKS} <= found


def test_refusals_of_the_sound_predictor_are_of_the_right_kind() -> None:
    model = Sound()
    with pytest.raises(InvalidValueError, match="features must be"):
        model.update(np.ones(3), 0.5)
    with pytest.raises(StateError, match="Load another checkpoint"):
        model.load_state({})
