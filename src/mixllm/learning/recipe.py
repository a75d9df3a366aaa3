"""How the predictors of an LLM are made: priors and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mixllm.errors import InvalidValueError
from mixllm.predictors import (
    BayesianLinear,
    BlockPrior,
    FrozenRegressor,
    LatencyPredictor,
    LengthPredictor,
    QualityPredictor,
    quality_from_price,
)
from mixllm.types import Price
from mixllm.units import fraction, positive

__all__ = ["LLMModel", "Recipe"]


_AT_LEAST_ONE = ("latency_window_calls", "cost_scale_window", "outside_judgement_weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMModel:
    """The predictors of one LLM.

    Parameters
    ----------
    quality, length, latency
        See the predictors of these names.
    billing
        Log of billed cost over the cost that the forecast's tokens have at list price.
    pace
        Log of how much longer calls of a kind take than their lengths say.
    """

    quality: QualityPredictor
    length: LengthPredictor
    billing: BayesianLinear
    latency: LatencyPredictor
    pace: BayesianLinear


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Priors and noise of every LLM's predictors.

    Parameters
    ----------
    tag_precision, embedding_precision
        How strongly an LLM's slopes are held to those of the pool: weakly for tags, strongly for the embedding.
    level_precision
        How strongly an LLM's level is held to what its price suggests.
    pool_tag_precision, pool_embedding_precision
        How strongly the slopes that the pool shares are held to 0.
    quality_noise_variance
        Variance of one judgement.
    quality_at_one_usd, quality_per_price_decade
        Quality expected of an LLM of which only the price is known (see `quality_from_price`).
    quality_per_public_score
        How much more is expected of an LLM whose public score is 1 above the mean of the pool's (see
        `mixllm.learning.newcomer`).
    prior_tokens_out
        Answer length expected before any answer.
    length_noise_variance
        Variance of the logarithm of one answer's length.
    length_tag_precision, length_embedding_precision, length_level_precision
        How strongly an LLM's slopes and level of log length are held to those of the pool: more weakly than quality's,
        since logarithms of lengths range more widely.
    length_pool_tag_precision, length_pool_embedding_precision
        How strongly the slopes of log length that the pool shares are held to 0.
    billing_noise_variance, billing_tag_precision, billing_embedding_precision, billing_level_precision
        Of the factor between billed cost and list price, in logarithms: tokenisers count differently, providers add
        and discount.
    billing_pool_tag_precision, billing_pool_embedding_precision
        How strongly the slopes of that factor that the pool shares are held to 0.
    latency_window_calls, prior_ttft_s, prior_tpot_s
        See `LatencyPredictor`.
    pace_noise_variance, pace_tag_precision, pace_embedding_precision, pace_level_precision
        Of how much longer calls of a kind take than their lengths say, in logarithms. There is hardly a level: what
        all calls have in common is in the times by length.
    cost_scale_window
        Answers over which the mean cost of the reference LLM runs.
    outside_judgement_weight
        How much a judgement counts where nothing like its query had been seen, in judgements from inside, >= 1: what
        is known there says little of it, and must not outweigh it. Training sets it to 16; from a cold start, where all
        that is known is little, it would let few judgements decide.
    """

    tag_precision: float = 150.0
    embedding_precision: float = 400.0
    level_precision: float = 100.0
    pool_tag_precision: float = 60.0
    pool_embedding_precision: float = 90.0
    quality_noise_variance: float = 0.2
    quality_at_one_usd: float = 0.8
    quality_per_price_decade: float = 0.25
    quality_per_public_score: float = 0.5
    prior_tokens_out: float = 200.0
    length_noise_variance: float = 0.3
    length_tag_precision: float = 5.0
    length_embedding_precision: float = 20.0
    length_level_precision: float = 1.0
    length_pool_tag_precision: float = 0.5
    length_pool_embedding_precision: float = 1.0
    billing_noise_variance: float = 0.02
    billing_tag_precision: float = 50.0
    billing_embedding_precision: float = 100.0
    billing_level_precision: float = 20.0
    billing_pool_tag_precision: float = 2.0
    billing_pool_embedding_precision: float = 5.0
    latency_window_calls: float = 300.0
    prior_ttft_s: float = 1.0
    prior_tpot_s: float = 0.02
    pace_noise_variance: float = 0.1
    pace_tag_precision: float = 50.0
    pace_embedding_precision: float = 100.0
    pace_level_precision: float = 1000.0
    cost_scale_window: float = 1000.0
    outside_judgement_weight: float = 1.0

    def __post_init__(self) -> None:
        for field in self.__slots__:
            value = getattr(self, field)
            if field == "quality_at_one_usd":
                fraction(field, value)
            elif field in ("quality_per_price_decade", "quality_per_public_score"):
                fraction(field, abs(value))
            elif field in _AT_LEAST_ONE and not value >= 1:
                raise InvalidValueError(field, value, ">= 1")
            else:
                positive(field, value)

    def level_from_price(self, price: Price) -> float:
        """Return the quality expected of an LLM of which only the price is known."""
        return quality_from_price(price, at_one_usd=self.quality_at_one_usd, per_decade=self.quality_per_price_decade)

    def new_model(
        self,
        *,
        level: float,
        tags: int,
        embedding: int,
        level_precision: float | None = None,
        quality_base: FrozenRegressor | None = None,
        length_base: FrozenRegressor | None = None,
    ) -> LLMModel:
        """Return untrained predictors over T tags and d' projected dimensions, with this level of quality expected.

        How surely is the `level_precision` given, or the recipe's own.

        Where there is a base, nothing is expected to be added to it: the level of the residual is 0, whatever `level`
        and `prior_tokens_out` say.
        """
        quality_prior = BlockPrior(
            tags=tags,
            embedding=embedding,
            tag_precision=self.tag_precision,
            embedding_precision=self.embedding_precision,
            bias_precision=self.level_precision if level_precision is None else level_precision,
            bias_mean=level if quality_base is None else 0.0,
        )
        length_prior = BlockPrior(
            tags=tags,
            embedding=embedding + 1,
            tag_precision=self.length_tag_precision,
            embedding_precision=self.length_embedding_precision,
            bias_precision=self.length_level_precision,
            bias_mean=math.log1p(self.prior_tokens_out) if length_base is None else 0.0,
        )
        billing_prior = BlockPrior(
            tags=tags,
            embedding=embedding + 1,
            tag_precision=self.billing_tag_precision,
            embedding_precision=self.billing_embedding_precision,
            bias_precision=self.billing_level_precision,
            bias_mean=0.0,
        )
        return LLMModel(
            quality=QualityPredictor(
                prior=quality_prior, noise_variance=self.quality_noise_variance, base=quality_base
            ),
            length=LengthPredictor(prior=length_prior, noise_variance=self.length_noise_variance, base=length_base),
            billing=BayesianLinear(prior=billing_prior, noise_variance=self.billing_noise_variance),
            latency=self.new_latency(),
            pace=self.new_pace(tags=tags, embedding=embedding),
        )

    def new_latency(self) -> LatencyPredictor:
        """Return a predictor of an endpoint's times of which nothing is known."""
        return LatencyPredictor(
            window_calls=self.latency_window_calls, prior_ttft_s=self.prior_ttft_s, prior_tpot_s=self.prior_tpot_s
        )

    def new_pace(self, *, tags: int, embedding: int) -> BayesianLinear:
        """Return a predictor of how much longer calls of a kind take, over T tags and d' projected dimensions."""
        prior = BlockPrior(
            tags=tags,
            embedding=embedding,
            tag_precision=self.pace_tag_precision,
            embedding_precision=self.pace_embedding_precision,
            bias_precision=self.pace_level_precision,
            bias_mean=0.0,
        )
        return BayesianLinear(prior=prior, noise_variance=self.pace_noise_variance)

    def pool_slopes(self, *, tags: int, embedding: int) -> BlockPrior:
        """Return the prior of the slopes of quality that the pool shares."""
        return BlockPrior(
            tags=tags,
            embedding=embedding,
            tag_precision=self.pool_tag_precision,
            embedding_precision=self.pool_embedding_precision,
            bias_precision=1.0,
            bias_mean=0.0,
        )

    def length_pool_slopes(self, *, tags: int, embedding: int) -> BlockPrior:
        """Return the prior of the slopes of log length that the pool shares, prompt length included."""
        return BlockPrior(
            tags=tags,
            embedding=embedding + 1,
            tag_precision=self.length_pool_tag_precision,
            embedding_precision=self.length_pool_embedding_precision,
            bias_precision=1.0,
            bias_mean=0.0,
        )

    def billing_pool_slopes(self, *, tags: int, embedding: int) -> BlockPrior:
        """Return the prior of the slopes of the billing factor that the pool shares, prompt length included."""
        return BlockPrior(
            tags=tags,
            embedding=embedding + 1,
            tag_precision=self.billing_pool_tag_precision,
            embedding_precision=self.billing_pool_embedding_precision,
            bias_precision=1.0,
            bias_mean=0.0,
        )
