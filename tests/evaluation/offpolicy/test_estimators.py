"""IPS, SNIPS and DR against a planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.evaluation.offpolicy.planted import (
    agrees_with_squarecb,
    forecast_of,
    log_of,
    scores_of,
    target_of,
    truth,
)

from mixllm.errors import InvalidValueError
from mixllm.evaluation.offpolicy import ESTIMATORS, Sample, doubly_robust, ips, logged_value, sample_of, snips
from mixllm.evaluation.offpolicy.direct import cross_fitted_ridge
from mixllm.evaluation.offpolicy.intervals import normal_interval, percentile_interval, resampled, standard_error

REPETITIONS = 200
SELDOM_JUDGED = np.array([0.9, 0.4, 0.7])


def quality_sample(seed: int, *, logging: str, judged: NDArray[np.float64] | None, ridge: bool = False) -> Sample:
    rng = np.random.default_rng(seed)
    log, contexts = log_of(rng, logging=logging, judged=judged)
    direct = cross_fitted_ridge(log, log.quality, rng=rng) if ridge else log.quality_mean
    return sample_of(log, target=target_of(contexts), rewards=log.quality, direct=direct)


def cost_sample(seed: int) -> Sample:
    log, contexts = log_of(np.random.default_rng(seed))
    return sample_of(log, target=target_of(contexts), rewards=log.cost_usd, direct=log.cost_usd_mean)


def coverage(samples: list[Sample], name: str, expected: float, *, level: float) -> float:
    held = 0
    for sample in samples:
        ratio = ESTIMATORS[name](sample)
        low, high = normal_interval(ratio.value, standard_error(ratio.influence), level=level)
        held += low <= expected <= high
    return held / len(samples)


def test_the_planted_policy_is_squarecb() -> None:
    contexts = np.random.default_rng(0).uniform(size=50)
    assert agrees_with_squarecb(scores_of(*forecast_of(contexts)), gap_weight=10.0)


@pytest.mark.parametrize("logging", ["squarecb", "soft"])
@pytest.mark.parametrize("judged", [None, SELDOM_JUDGED], ids=["all-judged", "some-judged"])
def test_intervals_cover_the_truth_as_often_as_they_say(logging: str, judged: NDArray[np.float64] | None) -> None:
    quality, _ = truth()
    samples = [quality_sample(seed, logging=logging, judged=judged) for seed in range(REPETITIONS)]
    for name in ESTIMATORS:
        # 200 repetitions at 0.9: the standard error of the coverage is 0.021.
        assert 0.84 <= coverage(samples, name, quality, level=0.9) <= 0.95, name
    assert 0.90 <= coverage(samples, "dr", quality, level=0.95) <= 0.99


def test_intervals_of_the_cost_and_of_the_ridge_cover_too() -> None:
    quality, cost = truth()
    spent = [cost_sample(seed) for seed in range(REPETITIONS)]
    fitted = [quality_sample(seed, logging="squarecb", judged=None, ridge=True) for seed in range(REPETITIONS)]
    for name in ESTIMATORS:
        assert 0.84 <= coverage(spent, name, cost, level=0.9) <= 0.95, name
    assert 0.84 <= coverage(fitted, "dr", quality, level=0.9) <= 0.95


def test_bootstrap_intervals_cover_too() -> None:
    quality, _ = truth()
    held = dict.fromkeys(ESTIMATORS, 0)
    for seed in range(REPETITIONS):
        sample = quality_sample(seed, logging="squarecb", judged=SELDOM_JUDGED)
        ratios = [estimate(sample) for estimate in ESTIMATORS.values()]
        values = resampled(ratios, replicates=200, rng=np.random.default_rng(seed))
        for name, drawn in zip(ESTIMATORS, values.T, strict=True):
            low, high = percentile_interval(drawn, level=0.9)
            held[name] += low <= quality <= high
    assert all(0.83 <= count / REPETITIONS <= 0.95 for count in held.values()), held


def test_estimates_are_unbiased_and_dr_varies_least() -> None:
    quality, _ = truth()
    samples = [quality_sample(seed, logging="squarecb", judged=SELDOM_JUDGED) for seed in range(REPETITIONS)]
    values = {name: np.array([make(one).value for one in samples]) for name, make in ESTIMATORS.items()}
    for name, found in values.items():
        error = found.std() / np.sqrt(len(found))
        assert abs(found.mean() - quality) < 4 * error, name
    assert values["dr"].var() < 0.8 * values["ips"].var()
    believed = [standard_error(doubly_robust(one).influence) for one in samples]
    assert float(np.mean(believed)) == pytest.approx(values["dr"].std(), rel=0.2)


def test_the_logged_policy_is_its_own_mean() -> None:
    log, _ = log_of(np.random.default_rng(1))
    sample = sample_of(log, target=log.propensities, rewards=log.quality, direct=log.quality_mean)
    for ratio in (logged_value(sample), ips(sample), snips(sample)):
        assert ratio.value == pytest.approx(float(log.quality.mean()))
        assert ratio.influence.mean() == pytest.approx(0.0, abs=1e-12)


def test_llms_that_are_judged_less_count_as_much() -> None:
    full, _ = log_of(np.random.default_rng(2), decisions=40_000)
    part, _ = log_of(np.random.default_rng(2), decisions=40_000, judged=SELDOM_JUDGED)
    target = np.broadcast_to([0.0, 0.0, 1.0], full.propensities.shape)
    expected = logged_value(sample_of(full, target=target, rewards=full.quality, direct=full.quality_mean)).value
    found = logged_value(sample_of(part, target=target, rewards=part.quality, direct=part.quality_mean)).value
    assert found == pytest.approx(expected, abs=0.01)


def test_what_was_not_seen_is_made_whole_by_the_share_that_was() -> None:
    sample = quality_sample(6, logging="squarecb", judged=SELDOM_JUDGED)
    values = np.random.default_rng(0).normal(size=len(sample.rewards))
    whole = sample.completed(values)
    assert whole.sum() == pytest.approx(float((sample.inverse_shares * np.where(sample.seen, values, 0.0)).sum()))
    unread = np.where(sample.seen, values, np.nan)
    np.testing.assert_array_equal(sample.completed(unread), whole)
    everything = quality_sample(6, logging="squarecb", judged=None)
    np.testing.assert_allclose(everything.completed(values), values)


def test_clipping_cuts_weights_and_variance() -> None:
    sample = quality_sample(3, logging="squarecb", judged=None)
    assert sample.ratios.max() > 3
    for make in (ips, snips, doubly_robust):
        assert standard_error(make(sample, clip=2.0).influence) < standard_error(make(sample).influence)
        assert make(sample, clip=1e9).value == make(sample).value
    assert ips(sample, clip=2.0).value < ips(sample).value
    with pytest.raises(InvalidValueError, match="clip must be"):
        ips(sample, clip=0.0)


def test_dr_with_a_perfect_model_is_exact() -> None:
    log, contexts = log_of(np.random.default_rng(4))
    target = target_of(contexts)
    exact = np.tile(np.linspace(0.1, 0.9, 3), (len(log), 1))
    sample = sample_of(log, target=target, rewards=log.of_chosen(exact), direct=exact)
    assert doubly_robust(sample).value == pytest.approx(float((target * exact).sum(axis=1).mean()))


def test_the_ridge_corrects_a_forecast_that_is_wrong() -> None:
    log, _ = log_of(np.random.default_rng(5), decisions=4000)
    fitted = cross_fitted_ridge(log, log.quality, rng=np.random.default_rng(0))
    by_forecast, by_ridge = (np.mean((log.of_chosen(model) - log.quality) ** 2) for model in (log.quality_mean, fitted))
    assert by_ridge < by_forecast
    np.testing.assert_array_equal(cross_fitted_ridge(log, log.quality, rng=np.random.default_rng(0)), fitted)
    with pytest.raises(InvalidValueError, match="folds must be >= 2"):
        cross_fitted_ridge(log, log.quality, rng=np.random.default_rng(0), folds=1)


def test_bad_levels_and_replicates() -> None:
    for level in (0.0, 1.0, float("nan")):
        with pytest.raises(InvalidValueError, match="level must be"):
            normal_interval(0.0, 1.0, level=level)
    with pytest.raises(InvalidValueError, match="replicates must be"):
        resampled([], replicates=0, rng=np.random.default_rng(0))
    assert resampled([], replicates=3, rng=np.random.default_rng(0)).shape == (3, 0)
    assert np.isnan(percentile_interval(np.array([np.nan]), level=0.9)).all()
