"""Quality of one LLM's answers."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.predictors.bayesian_linear import BayesianLinear
from mixllm.predictors.frozen import FrozenRegressor, base_at, check_base, expected_of
from mixllm.predictors.prior import BlockPrior
from mixllm.types import Estimate
from mixllm.units import finite, fraction

__all__ = ["QualityPredictor"]

_MOST_OUTSIDE = 4.0
"""How far a corrected judgement may lie outside [0, 1]."""


class QualityPredictor(BayesianLinear):
    """Bayesian linear regression of a quality in [0, 1] on z = [π, Wx, 1].

    Parameters
    ----------
    prior
        Mean and precision of the weights; its bias mean is the quality expected before any feedback, or what is to be
        added to that of `base`.
    noise_variance
        Variance of one judgement around the mean quality; at most 0.25 for thumbs.
    base
        Fitted offline; the linear model then learns the residual q − base(z). None: it learns q.

    Notes
    -----
    p̂ = base(z) + zᵀA⁻¹b clipped to [0, 1], std = sqrt(zᵀA⁻¹z) (design §3). The std is that of the linear part.
    """

    def __init__(self, *, prior: BlockPrior, noise_variance: float, base: FrozenRegressor | None = None) -> None:
        check_base(base, prior.dimension)
        super().__init__(prior=prior, noise_variance=noise_variance)
        self.base = base

    def predict(self, features: FloatArray) -> Estimate:
        """Return the expected quality at `features`, shape (D,), in [0, 1]."""
        return self._with_base(super().predict(features), features)

    def predict_from(self, features: FloatArray, prior_mean: NDArray[np.float64]) -> Estimate:
        """Return the expected quality at `features`, shape (D,), as it is with another prior mean θ0, shape (D,)."""
        return self._with_base(super().predict_from(features, prior_mean), features)

    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        """Learn one judgement in [0, 1]; refuses others and leaves the state as it was."""
        super().update(features, fraction("target", target) - base_at(self.base, features), weight=weight)

    def update_corrected(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        """Learn one judgement that was corrected for its source's bias.

        It may lie outside [0, 1] by up to 4, and has to: cut to the range, judgements that are right on average would
        no longer be.

        Raises
        ------
        InvalidValueError
            Where it is further out, or the features or the weight do not fit; the state stays as it was.
        """
        if not -_MOST_OUTSIDE <= finite("target", target) <= 1.0 + _MOST_OUTSIDE:
            raise InvalidValueError("target", target, f"between {-_MOST_OUTSIDE:g} and {1.0 + _MOST_OUTSIDE:g}")
        super().update(features, target - base_at(self.base, features), weight=weight)

    def update_many(self, features: FloatArray, targets: FloatArray, *, expected: FloatArray | None = None) -> None:
        """Learn n judgements in [0, 1] at once, `features` of shape (n, D) and `targets` of shape (n,).

        Parameters
        ----------
        features, targets
            As `BayesianLinear.update_many` takes them.
        expected
            What a base fitted without these judgements says of them, shape (n,); it stands in for `base`, whose own
            residuals are too small where it was fitted to the same judgements. None asks `base`; without one it must
            be None.
        """
        quality = np.asarray(targets, np.float64)
        inside = (quality >= 0) & (quality <= 1)
        if not inside.all():
            raise InvalidValueError("targets", float(quality[~inside][0]), "between 0 and 1")
        super().update_many(features, quality - expected_of(self.base, features, expected))

    def merge(self, other: Self) -> None:
        """Add what `other` has learned; refuses another prior, noise or base."""
        if other.base is not self.base:
            raise InvalidValueError("other", other.base, "a model with the same base")
        super().merge(other)

    def clone(self) -> Self:
        """Return an untrained copy with the same parameters."""
        return type(self)(prior=self.prior, noise_variance=self.noise_variance, base=self.base)

    def _with_base(self, estimate: Estimate, features: FloatArray) -> Estimate:
        return Estimate(mean=min(1.0, max(0.0, estimate.mean + base_at(self.base, features))), std=estimate.std)
