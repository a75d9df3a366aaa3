"""What every `mixllm.interfaces.Policy` must do, as checks that any policy can be run through.

`check_policy` takes a function that makes policies. It knows the protocol alone: scores, standard deviations and
forecasts in, probabilities out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.interfaces import Policy
from mixllm.types import Estimate, Forecast

__all__ = ["POLICY_CHECKS", "Allowed", "PolicyTrial", "check_policy"]

Allowed = Callable[[NDArray[np.float64], Sequence[Forecast]], NDArray[np.bool_]]
"""Scores and forecasts of the K candidates to which of them may be chosen, shape (K,)."""

_SIZES = (1, 2, 3, 11)
_SEED = 20_250_429
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidates:
    """The arguments of one call."""

    scores: NDArray[np.float64]
    stds: NDArray[np.float64]
    forecasts: tuple[Forecast, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, places: NDArray[np.intp]) -> _Candidates:
        return _Candidates(
            scores=self.scores[places], stds=self.stds[places], forecasts=tuple(self.forecasts[one] for one in places)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTrial:
    """What the checks need of a policy.

    Parameters
    ----------
    make
        Makes a policy; two of them are alike.
    allowed
        Which candidates it may choose; None: every one.
    """

    make: Callable[[], Policy]
    allowed: Allowed | None


def check_policy(make: Callable[[], Policy], *, allowed: Allowed | None = None) -> None:
    """Run the whole contract; raises `AssertionError` where the policy does not fulfil it.

    Parameters
    ----------
    make
        Makes a policy.
    allowed
        Which candidates it may choose, given scores and forecasts, where its exploration is bounded; the others must
        have probability 0. The best-scored candidate must always be among them.
    """
    trial = PolicyTrial(make=make, allowed=allowed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for check in POLICY_CHECKS:
            check(trial)


def _has_a_name(trial: PolicyTrial) -> None:
    name = trial.make().name
    assert isinstance(name, str), f"the name is a {type(name).__name__}"
    assert name.strip() == name != "", f"the name is {name!r}"
    assert trial.make().name == name, "policies made alike have other names"


def _gives_probabilities(trial: PolicyTrial) -> None:
    policy = trial.make()
    for candidates in _ordinary_cases():
        _assert_probabilities(_propensities(policy, candidates), len(candidates))


def _chooses_the_only_one(trial: PolicyTrial) -> None:
    policy = trial.make()
    rng = np.random.default_rng(_SEED)
    for scale in (0.0, 1.0, 1e300):
        (only,) = _propensities(policy, _drawn(rng, 1, scale=scale))
        assert abs(only - 1.0) <= _TOLERANCE, f"the only candidate has probability {only}"


def _bears_ties(trial: PolicyTrial) -> None:
    policy = trial.make()
    rng = np.random.default_rng(_SEED)
    for size in _SIZES:
        one = _drawn(rng, 1)
        _assert_probabilities(_propensities(policy, one.at(np.zeros(size, np.intp))), size)
        tied = _drawn(rng, size)
        tied = _Candidates(scores=np.zeros(size), stds=tied.stds, forecasts=tied.forecasts)
        _assert_probabilities(_propensities(policy, tied), size)


def _bears_extremes(trial: PolicyTrial) -> None:
    policy = trial.make()
    rng = np.random.default_rng(_SEED)
    for size in _SIZES:
        for scale in (1e-300, 1e22, 1e300):
            for std in (0.0, 1e-300, 1.0, 1e12):
                drawn = _drawn(rng, size, scale=scale)
                candidates = _Candidates(scores=drawn.scores, stds=np.full(size, std), forecasts=drawn.forecasts)
                _assert_probabilities(_propensities(policy, candidates), size)


def _prefers_the_best(trial: PolicyTrial) -> None:
    policy = trial.make()
    for candidates in _ordinary_cases():
        sure = tuple(
            _forecast(quality=one.quality.mean, std=0.01, cost_usd=one.cost_usd.mean, judgements=1e9)
            for one in candidates.forecasts
        )
        sure_case = _Candidates(scores=candidates.scores, stds=np.full(len(candidates), 0.01), forecasts=sure)
        propensities = _propensities(policy, sure_case)
        best = int(np.argmax(candidates.scores))
        assert propensities[best] >= propensities.max() - _TOLERANCE, "another than the best score is the likeliest"


def _keeps_within_bounds(trial: PolicyTrial) -> None:
    if trial.allowed is None:
        return
    policy, refused = trial.make(), 0
    for candidates in _ordinary_cases():
        allowed = trial.allowed(candidates.scores, candidates.forecasts)
        propensities = _propensities(policy, candidates)
        assert (propensities[~allowed] == 0).all(), "a candidate beyond the bounds may be chosen"
        refused += int((~allowed).sum())
    assert refused, "the bounds refuse nothing: give tighter ones"


def _is_deterministic(trial: PolicyTrial) -> None:
    policy, other = trial.make(), trial.make()
    for candidates in _ordinary_cases():
        first = _propensities(policy, candidates)
        kept = first.copy()
        first[:] = 0.5
        assert np.array_equal(_propensities(policy, candidates), kept), "the same candidates get other probabilities"
        assert np.array_equal(_propensities(other, candidates), kept), "two policies made alike differ"
        as_list = policy.propensities(
            scores=candidates.scores, stds=candidates.stds, forecasts=list(candidates.forecasts)
        )
        assert np.array_equal(as_list, kept), "a list of forecasts gets other probabilities than a tuple"


def _does_not_mind_the_order(trial: PolicyTrial) -> None:
    policy = trial.make()
    rng = np.random.default_rng(_SEED + 1)
    for candidates in _ordinary_cases():
        order = rng.permutation(len(candidates))
        there = _propensities(policy, candidates)[order]
        here = _propensities(policy, candidates.at(order))
        assert np.allclose(here, there, rtol=0, atol=1e-7), "the order of the candidates changes their probabilities"


def _leaves_its_input_alone(trial: PolicyTrial) -> None:
    policy = trial.make()
    for candidates in _ordinary_cases():
        scores, stds = candidates.scores.copy(), candidates.stds.copy()
        forecasts = list(candidates.forecasts)
        policy.propensities(scores=scores, stds=stds, forecasts=forecasts)
        assert np.array_equal(scores, candidates.scores), "the scores are changed"
        assert np.array_equal(stds, candidates.stds), "the standard deviations are changed"
        assert tuple(forecasts) == candidates.forecasts, "the forecasts are changed"


POLICY_CHECKS: tuple[Callable[[PolicyTrial], None], ...] = (
    _has_a_name,
    _gives_probabilities,
    _chooses_the_only_one,
    _bears_ties,
    _bears_extremes,
    _prefers_the_best,
    _keeps_within_bounds,
    _is_deterministic,
    _does_not_mind_the_order,
    _leaves_its_input_alone,
)
"""The checks, in order."""


def _ordinary_cases() -> list[_Candidates]:
    rng = np.random.default_rng(_SEED)
    return [_drawn(rng, size) for size in _SIZES for _ in range(6)]


def _drawn(rng: np.random.Generator, size: int, *, scale: float = 1.0) -> _Candidates:
    """Return candidates with scores of this scale: few or many judgements, cheap and dear, all different."""
    forecasts = tuple(
        _forecast(
            quality=float(rng.uniform(0, 1)),
            std=float(rng.uniform(0.01, 0.4)),
            cost_usd=float(10 ** rng.uniform(-5, -1)),
            judgements=float(rng.choice([0, 3, 1000])),
        )
        for _ in range(size)
    )
    return _Candidates(
        scores=scale * rng.uniform(-1, 1, size), stds=np.asarray(rng.uniform(0.01, 0.4, size)), forecasts=forecasts
    )


def _forecast(*, quality: float, std: float, cost_usd: float, judgements: float) -> Forecast:
    some = Estimate(mean=1.0, std=0.1)
    return Forecast(
        quality=Estimate(mean=quality, std=std),
        tokens_out=some,
        cost_usd=Estimate(mean=cost_usd, std=cost_usd / 10),
        ttft_s=some,
        wait_s=0.0,
        latency_s=some,
        judgements=judgements,
    )


def _propensities(policy: Policy, candidates: _Candidates) -> NDArray[np.float64]:
    return policy.propensities(scores=candidates.scores, stds=candidates.stds, forecasts=candidates.forecasts)


def _assert_probabilities(propensities: NDArray[np.float64], size: int) -> None:
    assert isinstance(propensities, np.ndarray), f"propensities are a {type(propensities).__name__}, not an array"
    assert propensities.shape == (size,), f"propensities have the shape {propensities.shape}, not ({size},)"
    assert np.issubdtype(propensities.dtype, np.floating), f"propensities are of {propensities.dtype}"
    assert np.isfinite(propensities).all(), "a propensity is NaN or infinite"
    assert ((propensities >= 0) & (propensities <= 1)).all(), f"propensities outside [0, 1]: {propensities}"
    assert abs(propensities.sum() - 1.0) <= _TOLERANCE, f"propensities sum to {propensities.sum()}"
