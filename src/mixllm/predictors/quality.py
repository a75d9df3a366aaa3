"""Quality of one LLM's answers."""

from __future__ import annotations

from mixllm.interfaces import FloatArray
from mixllm.predictors.bayesian_linear import BayesianLinear
from mixllm.types import Estimate
from mixllm.units import fraction

__all__ = ["QualityPredictor"]


class QualityPredictor(BayesianLinear):
    """Bayesian linear regression of a quality in [0, 1] on z = [π, Wx, 1].

    Parameters
    ----------
    prior
        Mean and precision of the weights; its bias mean is the quality expected before any feedback.
    noise_variance
        Variance of one judgement around the mean quality; at most 0.25 for thumbs.

    Notes
    -----
    p̂ = zᵀA⁻¹b clipped to [0, 1], std = sqrt(zᵀA⁻¹z) (design §3).
    """

    def predict(self, features: FloatArray) -> Estimate:
        """Return the expected quality at `features`, shape (D,), in [0, 1]."""
        estimate = super().predict(features)
        return Estimate(mean=min(1.0, max(0.0, estimate.mean)), std=estimate.std)

    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        """Learn one judgement in [0, 1]; refuses others and leaves the state as it was."""
        super().update(features, fraction("target", target), weight=weight)
