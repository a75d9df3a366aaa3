"""Every policy passes the suite, at every parameter off its default; broken ones do not."""

from __future__ import annotations

import functools
import itertools
import traceback
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.conformance.policy import POLICY_CHECKS, Allowed, check_policy
from mixllm.decision import (
    ExplorationBounds,
    GreedyPolicy,
    SquareCBPolicy,
    ThompsonPolicy,
    UCBPolicy,
    WarmUpPolicy,
)
from mixllm.interfaces import Policy
from mixllm.types import Forecast

Array = NDArray[np.float64]

COST = ExplorationBounds(max_cost_ratio=1.5)
QUALITY = ExplorationBounds(min_quality=0.6)
BOTH = ExplorationBounds(max_cost_ratio=20.0, min_quality=0.5)


def allowed_by(bounds: ExplorationBounds) -> Allowed:
    return lambda scores, forecasts: bounds.allowed(scores=scores, forecasts=forecasts)


@pytest.mark.parametrize(
    "make",
    [
        GreedyPolicy,
        UCBPolicy,
        lambda: UCBPolicy(exploration=0.0),
        lambda: UCBPolicy(exploration=2.5),
        SquareCBPolicy,
        lambda: SquareCBPolicy(gap_weight=3.0),
        lambda: SquareCBPolicy(gap_weight=1e9),
        ThompsonPolicy,
        lambda: ThompsonPolicy(scale=0.2),
        lambda: ThompsonPolicy(scale=5.0),
    ],
)
def test_unbounded_policies_pass(make: Callable[[], Policy]) -> None:
    check_policy(make)


@pytest.mark.parametrize("bounds", [COST, QUALITY, BOTH], ids=["cost", "quality", "both"])
@pytest.mark.parametrize(
    "make",
    [
        lambda bounds: UCBPolicy(exploration=0.7, bounds=bounds),
        lambda bounds: SquareCBPolicy(gap_weight=11.0, bounds=bounds),
        lambda bounds: ThompsonPolicy(scale=1.7, bounds=bounds),
    ],
    ids=["ucb", "squarecb", "thompson"],
)
def test_bounded_policies_pass(make: Callable[[ExplorationBounds], Policy], bounds: ExplorationBounds) -> None:
    check_policy(lambda: make(bounds), allowed=allowed_by(bounds))
    warmed = lambda: WarmUpPolicy(policy=make(bounds), judgements=7, share=0.35, bounds=bounds)  # noqa: E731 -- a maker
    check_policy(warmed, allowed=allowed_by(bounds))


@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("inner", [GreedyPolicy, UCBPolicy, SquareCBPolicy, ThompsonPolicy])
def test_warm_up_over_each_policy_passes(inner: Callable[[], Policy], share: float) -> None:
    check_policy(lambda: WarmUpPolicy(policy=inner(), judgements=7, share=share))
    check_policy(lambda: WarmUpPolicy(policy=inner()))


def test_a_warm_up_within_bounds_over_a_policy_without_passes_where_that_one_does_not_explore() -> None:
    check_policy(
        lambda: WarmUpPolicy(policy=GreedyPolicy(), judgements=7, share=0.5, bounds=COST), allowed=allowed_by(COST)
    )


# --- planted faults ---------------------------------------------------------------------------------------------------


class Sound:
    """A sound policy: inverse gap weighting within bounds."""

    name = "sound"

    def __init__(self) -> None:
        self._inner = SquareCBPolicy(gap_weight=11.0, bounds=BOTH)

    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        return self._inner.propensities(scores=scores, stds=stds, forecasts=forecasts)


class BlankName(Sound):
    name = " "


class NameOfTheInstance(Sound):
    made = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.name = f"sound-{next(self.made)}"


class SumsToMore(Sound):
    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        return super().propensities(scores=scores, stds=stds, forecasts=forecasts) * 1.001


class BelowZero(Sound):
    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        p = super().propensities(scores=scores, stds=stds, forecasts=forecasts)
        p[0] += 0.6
        p[-1] -= 0.6
        return p


class AColumn(Sound):
    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        return super().propensities(scores=scores, stds=stds, forecasts=forecasts)[:, None]


class SpareTheOnlyOne(Sound):
    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        p = super().propensities(scores=scores, stds=stds, forecasts=forecasts)
        return p * 0.9 if len(p) == 1 and abs(scores[0]) > 1e200 else p


class DividesByTheSpread(Sound):
    """Min–max normalisation: no number where all scores tie."""

    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            spread = (scores - scores.min()) / (scores.max() - scores.min())
        p = super().propensities(scores=scores, stds=stds, forecasts=forecasts)
        return p if len(p) == 1 or np.isfinite(spread).all() else p * np.nan


class NotANumberWhereHuge(Sound):
    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        p = super().propensities(scores=scores, stds=stds, forecasts=forecasts)
        return p * np.nan if len(p) > 1 and np.abs(scores).max() > 1e200 else p


class WarnsWhereHuge(Sound):
    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        if len(scores) > 1 and np.abs(scores).max() > 1e200:
            warnings.warn("overflow", RuntimeWarning, stacklevel=2)
        return super().propensities(scores=scores, stds=stds, forecasts=forecasts)


class PrefersTheWorst(Sound):
    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        return super().propensities(scores=-scores, stds=stds, forecasts=forecasts)


class BeyondItsBounds(Sound):
    def __init__(self) -> None:
        self._inner = SquareCBPolicy(gap_weight=11.0)


class Draws(Sound):
    """Chooses by itself, instead of saying with which probability."""

    def __init__(self) -> None:
        super().__init__()
        self._rng = np.random.default_rng(0)

    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        p = super().propensities(scores=scores, stds=stds, forecasts=forecasts)
        chosen = np.zeros_like(p)
        chosen[self._rng.choice(len(p), p=p)] = 1.0
        return chosen


class HandsOutOneArray(Sound):
    def __init__(self) -> None:
        super().__init__()
        self._known: dict[bytes, Array] = {}

    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        p = super().propensities(scores=scores, stds=stds, forecasts=forecasts)
        return self._known.setdefault(scores.tobytes() + stds.tobytes(), p)


class MindsTheOrder(Sound):
    """Favours the first candidate that may be chosen."""

    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        p = super().propensities(scores=scores, stds=stds, forecasts=forecasts)
        given = 0.01 * p[scores.argmax()]
        p[scores.argmax()] -= given
        p[np.flatnonzero(p)[0]] += given
        return p


class WritesIntoScores(Sound):
    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        p = super().propensities(scores=scores, stds=stds, forecasts=forecasts)
        scores[scores.argmin()] -= 1e-9
        return p


class WritesIntoStds(Sound):
    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        stds *= 0.5
        return super().propensities(scores=scores, stds=stds, forecasts=forecasts)


class WritesIntoForecasts(Sound):
    def propensities(self, *, scores: Array, stds: Array, forecasts: Sequence[Forecast]) -> Array:
        p = super().propensities(scores=scores, stds=stds, forecasts=forecasts)
        if isinstance(forecasts, list):
            forecasts.reverse()
        return p


FAULTY: list[Callable[[], Policy]] = [
    BlankName,
    NameOfTheInstance,
    SumsToMore,
    BelowZero,
    AColumn,
    SpareTheOnlyOne,
    DividesByTheSpread,
    NotANumberWhereHuge,
    WarnsWhereHuge,
    PrefersTheWorst,
    BeyondItsBounds,
    Draws,
    HandsOutOneArray,
    MindsTheOrder,
    WritesIntoScores,
    WritesIntoStds,
    WritesIntoForecasts,
]


@functools.cache
def broken_checks(faulty: Callable[[], Policy]) -> frozenset[str]:
    """Return the names of the functions on the way to the suite's first complaint; none where it has none."""
    try:
        check_policy(faulty, allowed=allowed_by(BOTH))
    except (AssertionError, RuntimeWarning) as error:
        return frozenset(frame.name for frame in traceback.extract_tb(error.__traceback__))
    return frozenset()


def test_the_sound_policy_passes() -> None:
    check_policy(Sound, allowed=allowed_by(BOTH))
    check_policy(Sound)


@pytest.mark.parametrize("faulty", FAULTY)
def test_planted_faults_are_found(faulty: Callable[[], Policy]) -> None:
    assert broken_checks(faulty)


def test_no_check_is_idle() -> None:
    found = frozenset().union(*(broken_checks(faulty) for faulty in FAULTY))
    assert {check.__name__ for check in POLICY_CHECKS} <= found


def test_bounds_that_refuse_nothing_are_no_test() -> None:
    with pytest.raises(AssertionError, match="give tighter ones"):
        check_policy(GreedyPolicy, allowed=lambda scores, _forecasts: np.ones(len(scores), np.bool_))
