"""What the LLMs of a pool have in common, as the prior mean of each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.predictors.bayesian_linear import BayesianLinear
from mixllm.predictors.prior import BlockPrior

__all__ = ["pooled_prior_means"]


def pooled_prior_means(
    models: Sequence[BayesianLinear], *, slopes: BlockPrior, share_level: bool
) -> NDArray[np.float64]:
    """Return the prior mean θ0 of each model, given what all of them have learned together, shape (K, D).

    A query that is hard, or that asks for a long answer, is so for every LLM. The pool therefore shares the slopes
    (the weights of everything but the constant), while each LLM keeps its level. An LLM with little data of its own
    starts from the pool; its uncertainty stays its own.

    Parameters
    ----------
    models
        Models over the same features with the same noise.
    slopes
        Prior of the shared slopes; its precisions say how strongly they are held to 0.
    share_level
        Whether the constant is pooled too: for lengths, where LLMs differ little.

    Notes
    -----
    Mixed model y = a_l + wᵀz + ε with a_l ~ N(a0_l, 1/ρ_l) eliminated: with n_l = Σ w, g_l = Σ w z and
    s_l = n_l + ρ_l σ², the normal equations of the slopes are
    (Σ_l [G_l − g_l g_lᵀ/s_l]/σ² + Λ) w = Σ_l [m_l − a0_l g_l − g_l (Σ y_l − n_l a0_l)/s_l]/σ².
    Everything in it is a sum of additive states, so the pool's mean merges as they do. An LLM without data adds
    nothing: adding or removing one moves no other.
    """
    if not models:
        return np.zeros((0, slopes.dimension))
    if any(model.dimension != slopes.dimension for model in models):
        raise InvalidValueError("models", [model.dimension for model in models], f"of dimension {slopes.dimension}")
    parts = [model.within_sums() for model in models]
    noise = models[0].noise_variance
    levels = np.array([model.prior.bias_mean for model in models])
    counts = np.array([part.count for part in parts])
    if share_level:
        # Only of those with data: a sum over more terms rounds otherwise, and LLMs without data must move nobody.
        seen = counts > 0
        totals = np.array([part.total for part in parts])
        strength = models[0].prior.bias_precision * noise
        level = (levels[0] * strength + totals[seen].sum()) / (strength + counts[seen].sum())
        levels = np.full(len(models), level)
    precision = np.diag(slopes.precision()[:-1])
    moment = np.zeros(slopes.dimension - 1)
    for part, model, own_level in zip(parts, models, levels.tolist(), strict=True):
        if part.count == 0:
            continue
        level_residual = (part.total - part.count * own_level) / part.effective
        precision += part.precision
        moment += (part.moment - part.sums * (own_level + level_residual)) / model.noise_variance
    means = np.empty((len(models), slopes.dimension))
    means[:, :-1] = np.linalg.solve(precision, moment)
    means[:, -1] = levels
    return means
