"""What to expect of an LLM that nobody has judged yet, by its price, its public score and the LLMs measured before."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixllm.learning.recipe import LLMModel, Recipe
from mixllm.predictors import base_at
from mixllm.types import LLMSpec, Price

__all__ = ["Expectation", "Measured", "expected_level", "expected_of_newcomer"]

_MIN_USD = 1e-6
_SPREADS = np.geomspace(0.02, 0.4, 14)
"""Scatters of LLMs around the regression that are weighed against each other."""

_SPREAD_LOG_STD = 0.7
"""How far, in logarithms, the scatter may well be from the one that the recipe states."""

_COEFFICIENT_STDS = np.array([0.2, 0.1, 0.5])
"""How far the pool may well be from the rule: its level, its rise per decade of price, per public score."""

_STD_RANGE = (0.03, 0.5)

_LEAST_INFORMATION = 1e-6
"""Judgements that tell less than this share of the prior tell nothing but rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of an LLM of the pool.

    Parameters
    ----------
    price, public_score
        What is known of it without asking it anything.
    quality
        Mean quality at the pool's average query, by its judgements alone.
    variance
        How unsure that is; infinite where it was never judged.
    """

    price: Price
    public_score: float | None
    quality: float
    variance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Quality expected at the pool's average query, and how surely.

    Parameters
    ----------
    quality
        In [0, 1].
    precision
        1/variance.
    """

    quality: float
    precision: float


def expected_of_newcomer(spec: LLMSpec, *, pool: Sequence[Measured], recipe: Recipe) -> Expectation:
    """Return what to expect of `spec` before any feedback.

    Parameters
    ----------
    spec
        The newcomer, with a price.
    pool
        The other LLMs.
    recipe
        Its rule of quality by price and public score is the prior; it alone counts where nobody was judged.

    Notes
    -----
    Bayesian regression of what the measured qualities add to the rule, on [1, log10 price, public score − mean score],
    with scatter τ of LLMs around it: m_l − rule_l = βᵀx_l + e_l, e_l ~ N(0, τ² + v_l). β is integrated out, τ summed
    over a grid by its posterior. The newcomer's variance is the predictive one, xᵀVar(β)x + τ²: wide where the pool
    scatters around the regression, and where the newcomer is unlike all others.
    """
    scores = [one.public_score for one in pool if one.public_score is not None]
    scores += [] if spec.public_score is None else [spec.public_score]
    mean_score = float(np.mean(scores)) if scores else 0.0
    at = _regressors(spec.price, spec.public_score, mean_score)
    rule = _rule(spec.price, spec.public_score, mean_score, recipe)
    known = [one for one in pool if math.isfinite(one.variance)]
    if not known:
        return Expectation(quality=rule, precision=recipe.level_precision)
    rows = np.array([_regressors(one.price, one.public_score, mean_score) for one in known])
    rules = [_rule(one.price, one.public_score, mean_score, recipe) for one in known]
    added = np.array([one.quality for one in known]) - rules
    mean, variance = _predicted(rows, added, np.array([one.variance for one in known]), at, recipe)
    std = min(_STD_RANGE[1], max(_STD_RANGE[0], math.sqrt(variance)))
    return Expectation(quality=min(1.0, max(0.0, rule + mean)), precision=std**-2)


def expected_level(
    spec: LLMSpec,
    *,
    others: Sequence[LLMSpec],
    models: Mapping[str, LLMModel],
    prior_means: Callable[[], NDArray[np.float64]],
    recipe: Recipe,
) -> Expectation:
    """Return the weight of the constant to expect of `spec`: its quality less what the pool's slopes add to it.

    Parameters
    ----------
    spec
        The newcomer.
    others
        LLMs that are or were in the pool, each with a price.
    models
        What was learned of each LLM, by name.
    prior_means
        Gives what all of `models` have in common, shape (K, D) (see `quality_prior_means`).
    recipe
        See `expected_of_newcomer`.
    """
    query = _average_query(tuple(models.values()))
    if query is None:
        # Without judgements only scores are compared: a large pool that starts has few or none.
        unmeasured = [_unmeasured(other) for other in others if other.public_score is not None]
        return expected_of_newcomer(spec, pool=unmeasured, recipe=recipe)
    means = dict(zip(models, prior_means(), strict=True))
    pool = [
        _measured(other, models[other.name], prior_mean=means[other.name], query=query)
        if other.name in models
        else _unmeasured(other)
        for other in others
    ]
    expected = expected_of_newcomer(spec, pool=pool, recipe=recipe)
    slopes = next((means[name] for name, model in models.items() if model.quality.base is None), 0.0 * query)
    return Expectation(quality=expected.quality - float(slopes[:-1] @ query[:-1]), precision=expected.precision)


def _measured(
    spec: LLMSpec, model: LLMModel, *, prior_mean: NDArray[np.float64], query: NDArray[np.float64]
) -> Measured:
    """Return what the judgements of an LLM say of its quality at `query`, apart from its prior.

    The posterior N(m₁, v₁) is the prior N(m₀, v₀) times the likelihood, whose variance is 1/(1/v₁ − 1/v₀): without this
    division, LLMs that nobody judged would count as measured to be what their price suggests.
    """
    quality = model.quality
    prior_variance = float((query**2) @ (1.0 / quality.prior.precision()))
    variance = float(query @ quality.covariance @ query)
    information = 1.0 / variance - 1.0 / prior_variance
    if quality.observations <= 0 or information <= _LEAST_INFORMATION / prior_variance:
        return _unmeasured(spec)
    after, before = float(query @ quality.mean_from(prior_mean)), float(query @ prior_mean)
    likely = (after / variance - before / prior_variance) / information
    return replace(_unmeasured(spec), quality=base_at(quality.base, query) + likely, variance=1.0 / information)


def _unmeasured(spec: LLMSpec) -> Measured:
    assert spec.price is not None, "the learner only takes specs with a price"
    return Measured(price=spec.price, public_score=spec.public_score, quality=0.0, variance=math.inf)


def _average_query(models: Sequence[LLMModel]) -> NDArray[np.float64] | None:
    """Return the mean features of all judged queries, shape (D,); None where none was judged."""
    sums = [model.quality.lifetime_state()["gram"][-1] for model in models if model.quality.ever_learned]
    judged = sum(float(row[-1]) for row in sums)
    return None if judged <= 0 else np.asarray(sum(sums) / judged, np.float64)


def _regressors(price: Price | None, score: float | None, mean_score: float) -> NDArray[np.float64]:
    assert price is not None, "the learner only takes specs with a price"
    decades = math.log10(max(price.blended_usd_per_million_tokens, _MIN_USD))
    return np.array([1.0, decades, 0.0 if score is None else score - mean_score])


def _rule(price: Price | None, score: float | None, mean_score: float, recipe: Recipe) -> float:
    assert price is not None, "the learner only takes specs with a price"
    level = recipe.level_from_price(price)
    if score is None:
        return level
    return min(1.0, max(0.0, level + recipe.quality_per_public_score * (score - mean_score)))


def _predicted(
    rows: NDArray[np.float64],
    added: NDArray[np.float64],
    variances: NDArray[np.float64],
    at: NDArray[np.float64],
    recipe: Recipe,
) -> tuple[float, float]:
    """Return mean and variance of what the newcomer adds to the rule."""
    stated = recipe.level_precision**-0.5
    prior = np.diag(_COEFFICIENT_STDS**-2)
    logs, means, spreads = np.empty(len(_SPREADS)), np.empty(len(_SPREADS)), np.empty(len(_SPREADS))
    for place, spread in enumerate(_SPREADS):
        weights = 1.0 / (spread**2 + variances)
        precision = prior + (rows.T * weights) @ rows
        moment = rows.T @ (weights * added)
        solved = np.linalg.solve(precision, np.stack([moment, at], axis=1))
        fit = float(moment @ solved[:, 0]) - float(added @ (weights * added))
        _, volume = np.linalg.slogdet(precision)
        logs[place] = 0.5 * (float(np.log(weights).sum()) - volume + fit)
        logs[place] -= 0.5 * (math.log(spread / stated) / _SPREAD_LOG_STD) ** 2
        means[place], spreads[place] = at @ solved[:, 0], at @ solved[:, 1] + spread**2
    shares = np.exp(logs - logs.max())
    shares /= shares.sum()
    mean = float(shares @ means)
    return mean, float(shares @ (spreads + (means - mean) ** 2))
