"""The question itself: what another policy would have done with the queries of a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, NoSupportError, did_you_mean
from mixllm.evaluation.offpolicy.caveats import caveats_of
from mixllm.evaluation.offpolicy.direct import Direct, cross_fitted_ridge
from mixllm.evaluation.offpolicy.estimators import ESTIMATORS, Ratio, logged_value
from mixllm.evaluation.offpolicy.intervals import (
    checked_level,
    normal_interval,
    percentile_interval,
    resampled,
    standard_error,
)
from mixllm.evaluation.offpolicy.logged import LoggedDecisions
from mixllm.evaluation.offpolicy.report import Comparison, LLMShares, Measured, RewardReport, WhatIfReport
from mixllm.evaluation.offpolicy.samples import Sample, checked_target, sample_of, seen_shares
from mixllm.evaluation.offpolicy.support import Support, SupportLimits, check_support, support_of
from mixllm.evaluation.offpolicy.target import Target
from mixllm.units import positive

__all__ = ["Settings", "what_if"]

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to estimate.

    Parameters
    ----------
    estimators
        Names out of `mixllm.evaluation.offpolicy.ESTIMATORS`, one or more.
    level
        Probability with which an interval shall cover the truth, in (0, 1).
    interval
        ``bootstrap`` (percentiles) or ``normal``.
    clip
        Largest weight π/p; None cuts none.
    direct
        DR's model: the logged ``forecast``, or a ``ridge`` on it, cross-fitted.
    replicates
        Resamples of the bootstrap, >= 1.
    limits
        Where an estimate is refused.
    """

    estimators: tuple[str, ...] = tuple(ESTIMATORS)
    level: float = 0.9
    interval: Literal["normal", "bootstrap"] = "bootstrap"
    clip: float | None = None
    direct: Direct = "forecast"
    replicates: int = 1000
    limits: SupportLimits = field(default_factory=SupportLimits)

    def __post_init__(self) -> None:
        if not self.estimators:
            raise InvalidValueError("estimators", self.estimators, f"one or more of {', '.join(ESTIMATORS)}")
        for name in self.estimators:
            if name not in ESTIMATORS:
                expected = f"out of {', '.join(ESTIMATORS)}.{did_you_mean(name, ESTIMATORS)}"
                raise InvalidValueError("estimators", name, expected)
        checked_level(self.level)
        if self.interval not in ("normal", "bootstrap"):
            raise InvalidValueError("interval", self.interval, "normal or bootstrap")
        if self.direct not in ("forecast", "ridge"):
            raise InvalidValueError("direct", self.direct, "forecast or ridge")
        if self.clip is not None:
            positive("clip", self.clip)
        if self.replicates < 1:
            raise InvalidValueError("replicates", self.replicates, ">= 1")


def what_if(
    log: LoggedDecisions, target: Target, *, settings: Settings | None = None, rng: np.random.Generator
) -> WhatIfReport:
    """Return what `target` would have had in quality, cost and score, beside what the logged policy had.

    Parameters
    ----------
    log
        What was decided and what came of it. It is not changed.
    target
        The policy that is asked about.
    settings
        How to estimate; None takes the defaults.
    rng
        For the bootstrap and the folds of the ridge.

    Raises
    ------
    NoSupportError
        Where the log cannot tell; says why and what to do.
    """
    settings = settings or Settings()
    probabilities = target.propensities(log)
    trade_offs = target.trade_offs(log)
    answerable = probabilities.sum(axis=1) > 0
    if not answerable.any():
        raise NoSupportError(
            "No decision of the log could be taken without the LLMs that you left out. Leave out fewer of them."
        )
    unanswerable = int((~answerable).sum())
    if unanswerable:
        log, probabilities, trade_offs = log.select(answerable), probabilities[answerable], trade_offs[answerable]
    probabilities = checked_target(log, probabilities)
    cost_scale_usd = float(log.cost_scale_usd.mean())
    samples = _samples(log, probabilities, trade_off=trade_offs, scale=cost_scale_usd, direct=settings.direct, rng=rng)
    supports = {name: support_of(log, probabilities, sample) for name, sample in samples.items()}
    for name, support in supports.items():
        check_support(support, settings.limits, log=log, reward=name)
    rewards = _estimated(samples, supports, settings, rng)
    judged = ~np.isnan(log.quality)
    return WhatIfReport(
        policy=target.name,
        trade_off=target.trade_off,
        without=tuple(sorted(target.without)),
        level=settings.level,
        interval=settings.interval,
        clip=settings.clip,
        direct=settings.direct,
        decisions=len(log),
        forced=log.forced,
        without_outcome=log.without_outcome,
        incomplete=log.incomplete,
        unanswerable=unanswerable,
        logged_policies=dict(log.policies),
        cost_scale_usd=cost_scale_usd,
        judged_share=float(judged.mean()),
        quality=rewards["quality"],
        cost_usd=rewards["cost_usd"],
        score=rewards["score"],
        llms=_shares(log, probabilities, judged),
        warnings=caveats_of(log, judged=judged, supports=supports, samples=samples, clip=settings.clip),
    )


def _samples(
    log: LoggedDecisions,
    target: _Array,
    *,
    trade_off: _Array,
    scale: float,
    direct: Direct,
    rng: np.random.Generator,
) -> dict[str, Sample]:
    worth = trade_off / (1.0 + trade_off)
    if direct == "ridge" and not (np.isnan(log.quality).all() or np.isnan(log.cost_usd).all()):
        quality = np.clip(cross_fitted_ridge(log, log.quality, rng=rng), 0.0, 1.0)
        cost = np.maximum(cross_fitted_ridge(log, log.cost_usd / scale, rng=rng) * scale, 0.0)
    else:
        quality, cost = log.quality_mean, log.cost_usd_mean
    score = worth * log.quality - (1.0 - worth) * log.cost_usd / scale
    score_model = worth[:, None] * quality - (1.0 - worth)[:, None] * cost / scale
    return {
        "quality": sample_of(log, target=target, rewards=log.quality, direct=quality),
        "cost_usd": sample_of(log, target=target, rewards=log.cost_usd, direct=cost),
        "score": sample_of(log, target=target, rewards=score, direct=score_model),
    }


def _estimated(
    samples: dict[str, Sample], supports: dict[str, Support], settings: Settings, rng: np.random.Generator
) -> dict[str, RewardReport]:
    names = ("logged", *settings.estimators)
    ratios: dict[tuple[str, str], Ratio] = {}
    for reward, sample in samples.items():
        ratios[reward, "logged"] = logged_value(sample)
        for name in settings.estimators:
            ratios[reward, name] = ESTIMATORS[name](sample, clip=settings.clip)
    drawn: dict[tuple[str, str], _Array] = {}
    if settings.interval == "bootstrap":
        values = resampled(list(ratios.values()), replicates=settings.replicates, rng=rng)
        drawn = dict(zip(ratios, values.T, strict=True))
    found: dict[str, RewardReport] = {}
    for reward in samples:
        logged = ratios[reward, "logged"]
        comparisons: dict[str, Comparison] = {}
        for name in names[1:]:
            ratio, sampled = ratios[reward, name], drawn.get((reward, name))
            between = None if sampled is None else sampled - drawn[reward, "logged"]
            comparisons[name] = Comparison(
                target=_measured(ratio.value, ratio.influence, sampled, settings.level),
                difference=_measured(
                    ratio.value - logged.value, ratio.influence - logged.influence, between, settings.level
                ),
            )
        found[reward] = RewardReport(
            logged=_measured(logged.value, logged.influence, drawn.get((reward, "logged")), settings.level),
            estimates=comparisons,
            support=supports[reward],
        )
    return found


def _measured(value: float, influence: _Array, drawn: _Array | None, level: float) -> Measured:
    error = standard_error(influence)
    low, high = normal_interval(value, error, level=level) if drawn is None else percentile_interval(drawn, level=level)
    return Measured(value=value, std_error=error, low=low, high=high)


def _shares(log: LoggedDecisions, target: _Array, judged: NDArray[np.bool_]) -> dict[str, LLMShares]:
    logged = np.bincount(log.chosen, minlength=len(log.llms)) / len(log)
    chosen = target.mean(axis=0)
    judged_shares: Sequence[float] = seen_shares(log, judged).tolist()
    return {
        llm: LLMShares(
            logged_share=float(logged[column]),
            target_share=float(chosen[column]),
            judged_share=None if np.isnan(judged_shares[column]) else judged_shares[column],
        )
        for column, llm in enumerate(log.llms)
    }
