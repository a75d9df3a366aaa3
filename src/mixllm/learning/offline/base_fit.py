"""Which family serves each LLM's quality and length, and its regressor as the LLM's base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.learning.bases import Bases
from mixllm.learning.offline.family import Family, FittedPool
from mixllm.learning.offline.pool_fits import pool_families, ridge_family
from mixllm.learning.offline.selection import FamilyChoice, choose_from, cross_validate
from mixllm.learning.offline.shrinkage import Shrinkage
from mixllm.learning.offline.training_set import TrainingSet
from mixllm.learning.recipe import Recipe
from mixllm.predictors import FrozenRegressor, length_feature_rows

__all__ = ["BAYESIAN", "FittedBases", "fit_bases"]

BAYESIAN = "bayesian"
"""The family without a base: the Bayesian model alone."""

_ROWS = 3_000
"""Queries of the cross-validation, at most: it bounds the time."""

_FOLDS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedBases:
    """What competed, what won, and what it says of the training queries that it had not seen.

    Parameters
    ----------
    bases
        Of the LLMs that another family than the Bayesian model serves; None where it serves them all.
    quality_families, length_families
        The choices, with the scores that they were made by.
    expected_quality, expected_log_length
        Out-of-fold predictions of the chosen families, shape (n, K): NaN for queries outside the cross-validation.
    """

    bases: Bases | None
    quality_families: FamilyChoice
    length_families: FamilyChoice
    expected_quality: NDArray[np.float64]
    expected_log_length: NDArray[np.float64]


def fit_bases(
    features: NDArray[np.float32],
    data: TrainingSet,
    *,
    tags: int,
    families: tuple[str, ...],
    shrinkage: Shrinkage,
    recipe: Recipe,
    rng: np.random.Generator,
) -> FittedBases:
    """Choose a family for each LLM by cross-validation, once for quality and once for log length, and fit it.

    Parameters
    ----------
    features
        z of the training queries, shape (n, D).
    data
        What happened.
    tags
        T, the length of π.
    families
        What competes, of `mixllm.learning.offline.pool_fits.POOL_FAMILIES` and ``bayesian``. Where ``bayesian`` is
        among them, another family has to be better by more than a standard error to replace it; else the best of the
        others serves.
    shrinkage, recipe
        How strongly the Bayesian model is shrunk, in quality and in length.
    rng
        Draws queries and folds, and seeds the fits.

    Notes
    -----
    The cross-validation has three folds over at most 3,000 queries. The Bayesian model's part in it is a ridge
    regression with the same ratios.
    """
    rivals = pool_families(tuple(name for name in families if name != BAYESIAN))
    drawn = np.sort(rng.permutation(len(features))[:_ROWS])
    free = BAYESIAN not in families
    noise = recipe.length_noise_variance
    quality = _Contest(
        features=features,
        targets=data.quality,
        families={
            BAYESIAN: ridge_family(tags=tags, tag_ratio=shrinkage.tag_ratio, embedding_ratio=shrinkage.embedding_ratio),
            **rivals,
        },
        llms=data.llms,
    ).decide(drawn, free=free, rng=rng)
    length = _Contest(
        features=length_feature_rows(features, data.tokens_in),
        targets=np.log1p(data.tokens_out),
        families={
            BAYESIAN: ridge_family(
                tags=tags,
                tag_ratio=recipe.length_tag_precision * noise,
                embedding_ratio=recipe.length_embedding_precision * noise,
            ),
            **rivals,
        },
        llms=data.llms,
    ).decide(drawn, free=free, rng=rng)
    return FittedBases(
        bases=Bases(quality=quality.models, length=length.models) if quality.models or length.models else None,
        quality_families=quality.choice,
        length_families=length.choice,
        expected_quality=quality.expected,
        expected_log_length=length.expected,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Outcome:
    choice: FamilyChoice
    models: dict[str, FrozenRegressor]
    expected: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Contest:
    """One target of every LLM, and the families that compete for it."""

    features: NDArray[np.float32]
    targets: NDArray[np.float64]
    families: Mapping[str, Family]
    llms: tuple[str, ...]

    def decide(self, drawn: NDArray[np.intp], *, free: bool, rng: np.random.Generator) -> _Outcome:
        validated = cross_validate(
            self.features[drawn], self.targets[drawn], self.families, folds=min(_FOLDS, len(drawn)), rng=rng
        )
        choice = choose_from(validated, baseline=BAYESIAN, llms=self.llms, free=free)
        expected = np.full(self.targets.shape, np.nan)
        for column, name in enumerate(choice.families):
            expected[drawn, column] = validated.predictions[name][:, column]
        return _Outcome(choice=choice, models=self._winners(choice, rng), expected=expected)

    def _winners(self, choice: FamilyChoice, rng: np.random.Generator) -> dict[str, FrozenRegressor]:
        """Return the chosen regressors, fitted as in the cross-validation, to all queries."""
        models: dict[str, FrozenRegressor] = {}
        seed = int(rng.integers(2**63))
        for name in sorted(set(choice.families) - {BAYESIAN}):
            fitted = self.families[name](self.features, self.targets, rng=np.random.default_rng(seed))
            assert isinstance(fitted, FittedPool), "families of the pool are frozen"
            made = zip(self.llms, choice.families, fitted.models, strict=True)
            models |= {llm: model for llm, chosen, model in made if chosen == name and model is not None}
        return models
