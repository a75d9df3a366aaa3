"""What is believed before any feedback: a Gaussian prior on the weights, with one strength per block of features."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.types import Price
from mixllm.units import finite, positive

__all__ = ["BlockPrior", "quality_from_price"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPrior:
    """Independent Gaussian prior N(θ0, Λ0⁻¹) over the weights of z = [π, Wx, 1].

    The tag block shrinks weakly and the embedding block strongly, so that a predictor falls back to "this LLM's mean
    on this domain" where the data say no more (design §3).

    Parameters
    ----------
    tags
        Number T of tag features.
    embedding
        Number of features that follow the tags, before the constant.
    tag_precision, embedding_precision, bias_precision
        Diagonal of Λ0 in the three blocks, each > 0.
    bias_mean
        Prior mean of the constant's weight, i.e. of the target; all other weights have prior mean 0.

    Examples
    --------
    >>> prior = BlockPrior(tags=2, embedding=3, tag_precision=1, embedding_precision=9, bias_precision=4, bias_mean=0.7)
    >>> prior.precision()
    array([1., 1., 9., 9., 9., 4.])
    >>> prior.mean()
    array([0. , 0. , 0. , 0. , 0. , 0.7])
    """

    tags: int
    embedding: int
    tag_precision: float
    embedding_precision: float
    bias_precision: float
    bias_mean: float

    def __post_init__(self) -> None:
        for name in ("tags", "embedding"):
            if getattr(self, name) < 0:
                raise InvalidValueError(name, getattr(self, name), ">= 0")
        for name in ("tag_precision", "embedding_precision", "bias_precision"):
            positive(name, getattr(self, name))
        finite("bias_mean", self.bias_mean)

    @property
    def dimension(self) -> int:
        """Length D of the features that the prior is for."""
        return self.tags + self.embedding + 1

    def precision(self) -> NDArray[np.float64]:
        """Return the diagonal of Λ0, shape (D,)."""
        return np.concatenate(
            [
                np.full(self.tags, float(self.tag_precision)),
                np.full(self.embedding, float(self.embedding_precision)),
                [float(self.bias_precision)],
            ]
        )

    def mean(self) -> NDArray[np.float64]:
        """Return θ0, shape (D,)."""
        mean = np.zeros(self.dimension)
        mean[-1] = self.bias_mean
        return mean


def quality_from_price(price: Price, *, at_one_usd: float = 0.7, per_decade: float = 0.1) -> float:
    """Return the quality to expect of an LLM of which only the price is known, in [0.4, 0.9].

    q0 = at_one_usd + per_decade · log10(blended price), where the blended price is USD per million tokens at three
    prompt tokens to one answer token. The form is ours: dearer LLMs are better on average, with much spread around it,
    which is why the prior's standard deviation is kept wide beside it.

    Examples
    --------
    >>> round(quality_from_price(Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=1)), 3)
    0.7
    >>> round(quality_from_price(Price(usd_per_million_tokens_in=10, usd_per_million_tokens_out=10)), 3)
    0.8
    """
    return min(0.9, max(0.4, at_one_usd + per_decade * math.log10(max(price.blended_usd_per_million_tokens, 1e-6))))
