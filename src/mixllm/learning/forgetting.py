"""How much of what was learned before a change still holds: the judgements since then decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import StateError
from mixllm.predictors import QualityPredictor

__all__ = ["KEPT_RECENT", "SHARES", "Recent", "share_to_keep"]

SHARES = (1.0, 0.5, 0.25, 0.1, 0.0)
"""Shares of the earlier evidence that may be kept."""

KEPT_RECENT = 256
"""Judgements that are remembered one by one, at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recent:
    """The newest judgements of one LLM, one by one.

    Parameters
    ----------
    features
        z of the queries, shape (n, D).
    targets
        What was learned of each, less what a base says, shape (n,).
    weights
        How much each counted, shape (n,).
    """

    features: NDArray[np.float32]
    targets: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def none(cls, dimension: int) -> Self:
        """Return no judgements over `dimension` features."""
        return cls(features=np.zeros((0, dimension), np.float32), targets=np.zeros(0), weights=np.zeros(0))

    def __len__(self) -> int:
        return len(self.targets)

    def newest(self, count: int) -> Self:
        """Return the newest `count` of them, or all where there are fewer."""
        start = len(self) - min(count, len(self))
        return type(self)(features=self.features[start:], targets=self.targets[start:], weights=self.weights[start:])

    def sums(self) -> dict[str, NDArray[np.float64]]:
        """Return their sums, as the state of a predictor that has learned nothing else."""
        z = self.features.astype(np.float64)
        weighted = z.T * self.weights
        return {
            "gram": weighted @ z,
            "moment": weighted @ self.targets,
            "sums": np.array([float(self.weights @ self.targets**2), float(self.weights.sum())]),
        }

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return all of it, ready to be saved."""
        return {
            "features": self.features.astype(np.float64),
            "targets": self.targets,
            "weights": self.weights,
        }

    @classmethod
    def from_state(cls, state: dict[str, NDArray[np.float64]], *, dimension: int) -> Self:
        """Return what `state` gave; raises `StateError` where it is damaged."""
        features, targets, weights = (
            state.get(name, np.full(1, np.nan)) for name in ("features", "targets", "weights")
        )
        count = len(targets)
        shaped = features.shape == (count, dimension) and targets.shape == weights.shape == (count,)
        if not shaped or not all(np.isfinite(array).all() for array in (features, targets, weights)):
            raise StateError("The checkpoint's newest judgements are damaged. Load another checkpoint.")
        if count > KEPT_RECENT or (weights <= 0).any():
            raise StateError("The checkpoint's newest judgements are damaged. Load another checkpoint.")
        return cls(
            features=features.astype(np.float32),
            targets=targets.astype(np.float64),
            weights=weights.astype(np.float64),
        )


def share_to_keep(model: QualityPredictor, recent: Recent, *, prior_mean: NDArray[np.float64]) -> float:
    """Return the share of what `model` learned before `recent` under which `recent` was least surprising.

    Parameters
    ----------
    model
        Has learned `recent` last.
    recent
        The judgements since the change.
    prior_mean
        Prior mean of the weights, shape (D,).

    Notes
    -----
    For each share ρ of `SHARES` the predictive log likelihood of the judgements, one after the other, each predicted
    from ρ · (all before `recent`) and those of `recent` before it: log Π p(q_i | ρ, q_1 … q_{i−1}) = log p(q | ρ), the
    evidence of ρ.
    """
    state, since = model.state(), recent.sums()
    gram, moment = (state[name] - since[name] for name in ("gram", "moment"))
    evidence = [
        _log_likelihood(
            recent,
            precision=np.diag(model.prior.precision()) + share * gram / model.noise_variance,
            information=model.prior.precision() * prior_mean + share * moment / model.noise_variance,
            noise_variance=model.noise_variance,
        )
        for share in SHARES
    ]
    return SHARES[int(np.argmax(evidence))]


def _log_likelihood(
    recent: Recent,
    *,
    precision: NDArray[np.float64],
    information: NDArray[np.float64],
    noise_variance: float,
) -> float:
    covariance = np.linalg.inv(precision)
    mean = covariance @ information
    total = 0.0
    for z, target, weight in zip(
        recent.features.astype(np.float64), recent.targets.tolist(), recent.weights.tolist(), strict=True
    ):
        spread = covariance @ z
        variance = noise_variance / weight + max(0.0, float(z @ spread))
        error = target - float(z @ mean)
        total -= 0.5 * (math.log(variance) + error * error / variance)
        mean += spread * (error / variance)
        covariance -= np.outer(spread, spread / variance)
    return total
