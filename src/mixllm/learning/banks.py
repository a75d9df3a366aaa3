"""From every LLM's predictors to the frozen banks of a snapshot: what the pool shares becomes each LLM's prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixllm.learning.recipe import LLMModel, Recipe
from mixllm.predictors import BayesianLinear, BillingFactors, BlockPrior, LinearBank, pooled_prior_means

__all__ = ["Banks", "LastBanks", "quality_prior_means"]

_Bank = TypeVar("_Bank", LinearBank, BillingFactors)
_PriorMeans = Callable[[], NDArray[np.float64]]


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
    def of(
        cls,
        models: Sequence[LLMModel],
        rows: list[int],
        *,
        recipe: Recipe,
        tags: int,
        embedding: int,
        last: LastBanks | None = None,
    ) -> Banks:
        """Freeze those of `models` at `rows`; all of them, in the pool or not, share slopes.

        An LLM with a base learns residuals, which have nothing in common with what the others learn: it neither adds
        to the pool's slopes nor takes them, and its prior mean is 0. What `last` still holds is taken from there; the
        result is the same to the last bit.
        """
        last = last or LastBanks()
        qualities = [model.quality for model in models]
        lengths = [model.length.log_model for model in models]
        billings = [model.billing for model in models]
        quality = last.linear(
            "quality",
            qualities,
            rows,
            lambda: quality_prior_means(models, recipe=recipe, tags=tags, embedding=embedding),
        )
        length = last.linear(
            "length",
            lengths,
            rows,
            lambda: _prior_means(
                lengths,
                [model.length.base is None for model in models],
                slopes=recipe.length_pool_slopes(tags=tags, embedding=embedding),
                share_level=True,
            ),
        )
        slopes = recipe.billing_pool_slopes(tags=tags, embedding=embedding)
        billing = last.factors(
            "billing", billings, rows, lambda: pooled_prior_means(billings, slopes=slopes, share_level=True)
        )
        return cls(quality=quality, length=length, billing=billing)


@dataclass(slots=True, kw_only=True)
class _Last(Generic[_Bank]):
    """A frozen bank, and of which state of which models it was made."""

    models: list[BayesianLinear]
    revisions: list[int]
    rows: list[int]
    bank: _Bank

    def changed(self, models: Sequence[BayesianLinear], rows: Sequence[int]) -> list[int] | None:
        """Return which models have learned since; None where they are others, or others of them are in the pool."""
        if self.rows != rows or len(self.models) != len(models):
            return None
        if any(model is not known for model, known in zip(models, self.models, strict=True)):
            return None
        return [row for row, model in enumerate(models) if model.revision != self.revisions[row]]


class LastBanks:
    """The banks that were frozen last: of a large pool, few LLMs learn between two snapshots."""

    def __init__(self) -> None:
        self._linear: dict[str, _Last[LinearBank]] = {}
        self._factors: dict[str, _Last[BillingFactors]] = {}

    def linear(
        self, part: str, models: Sequence[BayesianLinear], rows: list[int], prior_means: _PriorMeans
    ) -> LinearBank:
        """Return the bank of those of `models` at `rows`, under the prior means of all of them."""
        last = self._linear.get(part)
        changed = None if last is None else last.changed(models, rows)
        if last is not None and changed == []:
            return last.bank
        chosen, means = [models[row] for row in rows], prior_means()[rows]
        if last is None or changed is None:
            bank = LinearBank.stack(chosen, prior_means=means)
        else:
            learned = set(changed)
            places = [place for place, row in enumerate(rows) if row in learned]
            bank = last.bank.renewed(chosen, changed=places, prior_means=means)
        self._linear[part] = _last(models, rows, bank)
        return bank

    def factors(
        self, part: str, models: Sequence[BayesianLinear], rows: list[int], prior_means: _PriorMeans
    ) -> BillingFactors:
        """Return the factors of those of `models` at `rows`, under the prior means of all of them."""
        last = self._factors.get(part)
        if last is not None and last.changed(models, rows) == []:
            return last.bank
        bank = BillingFactors.stack([models[row] for row in rows], prior_means=prior_means()[rows])
        self._factors[part] = _last(models, rows, bank)
        return bank


def _last(models: Sequence[BayesianLinear], rows: list[int], bank: _Bank) -> _Last[_Bank]:
    return _Last(models=list(models), revisions=[model.revision for model in models], rows=list(rows), bank=bank)


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
