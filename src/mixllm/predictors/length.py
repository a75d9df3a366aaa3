"""Length of one LLM's answers, from which its cost follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.predictors.bayesian_linear import BayesianLinear
from mixllm.predictors.frozen import FrozenRegressor, base_at, check_base, expected_of
from mixllm.predictors.prior import BlockPrior
from mixllm.types import Estimate
from mixllm.units import non_negative, positive

__all__ = ["MAX_LOG_TOKENS", "LengthPredictor", "length_feature_rows", "length_features", "tokens_from_log"]

MAX_LOG_TOKENS = math.log(1_000_000)
"""No forecast is longer than a million tokens, whatever the features."""

_PROMPT_SCALE = 0.1
"""Brings log prompt length (0 … 14) to the size of the other features."""

_ORDINARY_PROMPT_TOKENS = 300
"""Where the prior mean holds."""


def length_features(features: FloatArray, tokens_in: int) -> NDArray[np.float32]:
    """Return [π, Wx, (log tokens_in − log 300)/10, 1], shape (D + 1,), from z = [π, Wx, 1].

    Examples
    --------
    >>> length_features(np.array([0.5, 1.0], np.float32), 300)
    array([0.5, 0. , 1. ], dtype=float32)
    """
    extended = np.empty(len(features) + 1, np.float32)
    extended[:-2] = features[:-1]
    extended[-2] = _PROMPT_SCALE * math.log(max(1, tokens_in) / _ORDINARY_PROMPT_TOKENS)
    extended[-1] = features[-1]
    return extended


def length_feature_rows(features: FloatArray, tokens_in: FloatArray) -> NDArray[np.float32]:
    """Return `length_features` of many queries, shape (n, D + 1), from their z, shape (n, D), and prompt tokens."""
    rows = [length_features(row, int(tokens)) for row, tokens in zip(features, tokens_in, strict=True)]
    return np.array(rows, np.float32).reshape(len(rows), features.shape[1] + 1)


def tokens_from_log(mean: FloatArray, std: FloatArray, residual_variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation of a length whose logarithm has this mean, std and scatter.

    Parameters
    ----------
    mean, std
        Of the expected log(1 + tokens), shape (K,).
    residual_variance
        Scatter s² of single logarithms around it, shape (K,).

    Notes
    -----
    The mean of a lognormal is exp(μ + s²/2), not exp(μ): without that factor costs are underestimated. The std
    counts both the scatter and the uncertainty of μ: exp(μ + s²/2) · sqrt(exp(s² + std²) − 1).
    """
    shifted = np.exp(np.minimum(mean + residual_variance / 2, MAX_LOG_TOKENS))
    return np.maximum(shifted - 1.0, 1.0), shifted * np.sqrt(
        np.expm1(np.minimum(residual_variance + std**2, MAX_LOG_TOKENS))
    )


class LengthPredictor:
    """Bayesian linear regression of log(1 + tokens_out) on `length_features`, read back in tokens.

    Parameters
    ----------
    prior
        Mean and precision of the weights over [π, Wx, log prompt length, 1]; its bias mean is a log length, or what is
        to be added to that of `base`.
    noise_variance
        Variance of log(1 + tokens_out) of one answer around its mean, as assumed before any is seen.
    base
        Fitted offline to log(1 + tokens_out); the linear model then learns the residual. None: it learns the whole.

    Notes
    -----
    See `tokens_from_log` for the way back, with the residual variance measured on what was learned.

    Examples
    --------
    >>> prior = BlockPrior(tags=0, embedding=1, tag_precision=1, embedding_precision=1, bias_precision=1,
    ...                    bias_mean=math.log(201))
    >>> model = LengthPredictor(prior=prior, noise_variance=0.25)
    >>> round(model.predict(length_features(np.array([1.0]), 300)).mean)
    227
    """

    def __init__(self, *, prior: BlockPrior, noise_variance: float, base: FrozenRegressor | None = None) -> None:
        check_base(base, prior.dimension)
        self.prior = prior
        self.noise_variance = positive("noise_variance", noise_variance)
        self.base = base
        self.log_model = BayesianLinear(prior=prior, noise_variance=noise_variance)

    @property
    def dimension(self) -> int:
        """Length of the features, prompt length included."""
        return self.log_model.dimension

    @property
    def observations(self) -> float:
        """Sum of the weights of everything learned."""
        return self.log_model.observations

    def predict(self, features: FloatArray) -> Estimate:
        """Return the expected number of answer tokens at `features`, shape (D + 1,)."""
        log_length = self.log_model.predict(features)
        tokens, std = tokens_from_log(
            np.array([log_length.mean + base_at(self.base, features)]),
            np.array([log_length.std]),
            np.array([self.log_model.residual_variance()]),
        )
        return Estimate(mean=float(tokens[0]), std=float(std[0]))

    def log_spread(self, features: FloatArray) -> tuple[float, float]:
        """Return the mean of the expected tokens at `features` and the standard deviation of their logarithm."""
        log_length = self.log_model.predict(features)
        variance = self.log_model.residual_variance()
        log_mean = log_length.mean + base_at(self.base, features) + variance / 2
        tokens = max(math.exp(min(log_mean, MAX_LOG_TOKENS)) - 1.0, 1.0)
        return tokens, math.sqrt(variance + log_length.std**2)

    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        """Learn the length of one answer, in tokens >= 0; refuses others and leaves the state as it was."""
        log_length = math.log1p(non_negative("target", target))
        self.log_model.update(features, log_length - base_at(self.base, features), weight=weight)

    def update_many(self, features: FloatArray, targets: FloatArray, *, expected: FloatArray | None = None) -> None:
        """Learn the lengths of n answers at once, `features` of shape (n, D + 1) and `targets` of shape (n,).

        Parameters
        ----------
        features
            `length_features` of each query.
        targets
            Tokens, each >= 0.
        expected
            What a base fitted without these answers says of log(1 + tokens), shape (n,); see
            `QualityPredictor.update_many`.
        """
        tokens = np.asarray(targets, np.float64)
        if not (tokens >= 0).all():
            raise InvalidValueError("targets", float(tokens[~(tokens >= 0)][0]), "numbers >= 0")
        self.log_model.update_many(features, np.log1p(tokens) - expected_of(self.base, features, expected))

    def merge(self, other: Self) -> None:
        """Add what `other` has learned; refuses another prior, noise or base."""
        if other.base is not self.base:
            raise InvalidValueError("other", other.base, "a model with the same base")
        self.log_model.merge(other.log_model)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return the additive state."""
        return self.log_model.state()

    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Replace the state; raises `StateError` where it does not fit."""
        self.log_model.load_state(state)

    def clone(self) -> Self:
        """Return an untrained copy with the same parameters."""
        return type(self)(prior=self.prior, noise_variance=self.noise_variance, base=self.base)
