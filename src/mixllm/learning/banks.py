"""From every LLM's predictors to the frozen banks of a snapshot: what the pool shares becomes each LLM's prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.learning.recipe import LLMModel, Recipe
from mixllm.predictors import BayesianLinear, BillingFactors, BlockPrior, LinearBank, pooled_prior_means

__all__ = ["Banks", "quality_prior_means"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Banks:
    """Frozen posteriors of the LLMs of the pool.

    Parameters
    ----------
    quality, length
        Of quality and of log length; of their residuals for an LLM with a base.
    billing
        Factors between billed cost and list price.
    """

    quality: LinearBank
    length: LinearBank
    billing: BillingFactors

    @classmethod
    def of(cls, models: Sequence[LLMModel], rows: list[int], *, recipe: Recipe, tags: int, embedding: int) -> Banks:
        """Freeze those of `models` at `rows`; all of them, in the pool or not, share slopes.

        An LLM with a base learns residuals, which have nothing in common with what the others learn: it neither adds
        to the pool's slopes nor takes them, and its prior mean is 0.
        """
        qualities = [model.quality for model in models]
        quality_means = quality_prior_means(models, recipe=recipe, tags=tags, embedding=embedding)
        lengths = [model.length.log_model for model in models]
        billings = [model.billing for model in models]
        length_means = _prior_means(
            lengths,
            [model.length.base is None for model in models],
            slopes=recipe.length_pool_slopes(tags=tags, embedding=embedding),
            share_level=True,
        )
        slopes = recipe.billing_pool_slopes(tags=tags, embedding=embedding)
        billing_means = pooled_prior_means(billings, slopes=slopes, share_level=True)
        return cls(
            quality=LinearBank.stack([qualities[row] for row in rows], prior_means=quality_means[rows]),
            length=LinearBank.stack([lengths[row] for row in rows], prior_means=length_means[rows]),
            billing=BillingFactors.stack([billings[row] for row in rows], prior_means=billing_means[rows]),
        )


def quality_prior_means(
    models: Sequence[LLMModel], *, recipe: Recipe, tags: int, embedding: int
) -> NDArray[np.float64]:
    """Return the prior mean of each LLM's weights of quality, given what all have learned together, shape (K, D)."""
    return _prior_means(
        [model.quality for model in models],
        [model.quality.base is None for model in models],
        slopes=recipe.pool_slopes(tags=tags, embedding=embedding),
        share_level=False,
    )


def _prior_means(
    models: Sequence[BayesianLinear], pooled: Sequence[bool], *, slopes: BlockPrior, share_level: bool
) -> NDArray[np.float64]:
    means = np.zeros((len(models), slopes.dimension))
    rows = [row for row, shares in enumerate(pooled) if shares]
    means[rows] = pooled_prior_means([models[row] for row in rows], slopes=slopes, share_level=share_level)
    return means
