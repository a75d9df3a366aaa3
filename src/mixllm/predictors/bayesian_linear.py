"""Bayesian linear regression with additive state: the model under quality and length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import FloatArray
from mixllm.predictors.prior import BlockPrior
from mixllm.types import Estimate
from mixllm.units import finite, fraction, positive

__all__ = ["BayesianLinear", "WithinSums"]

_REFACTOR_EVERY = 2_000
"""Rank-one updates after which the covariance is computed afresh, so that rounding never adds up."""

_ROWS_TOGETHER = 32
"""Updates whose outer products are added to G as one matrix product: one by one they take half of an update's time."""

_MAX_FEATURE = 1e3
_MAX_TARGET = 1e9
_MAX_WEIGHT = 1e6
"""Bounds on one observation: beyond them it would drown all others for ever, and the sums would lose the prior."""

_MAX_SUM = 1e40
"""No sum over observations within the bounds is larger."""

_PSEUDO_TARGETS = 10.0
"""Weight of the assumed noise beside the residuals that were seen."""

_LIFETIME = "lifetime_"
"""Prefix of the state arrays of everything ever learned, where some of it has been forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WithinSums:
    """What one model knows of slopes that several share, its own level eliminated (see `BayesianLinear.within_sums`).

    Parameters
    ----------
    count, total
        n = Σ w, and Σ w y.
    effective
        s = n + ρσ².
    sums
        g = Σ w z without the constant, shape (D − 1,).
    moment
        Σ w z y without the constant, shape (D − 1,).
    precision
        (G − ggᵀ/s)/σ² without the constant, shape (D − 1, D − 1).
    """

    count: float
    total: float
    effective: float
    sums: NDArray[np.float64]
    moment: NDArray[np.float64]
    precision: NDArray[np.float64]


class BayesianLinear:
    """Linear regression with a Gaussian prior and known noise.

    Parameters
    ----------
    prior
        Mean θ0 and precision Λ0 of the weights.
    noise_variance
        Variance σ² of a target around its mean, > 0.

    Notes
    -----
    With G = Σ w z zᵀ and m = Σ w z y, the posterior over the weights is N(A⁻¹b, A⁻¹) with A = Λ0 + G/σ² and
    b = Λ0 θ0 + m/σ² (Bishop, *Pattern Recognition and Machine Learning*, 3.50–3.51). G, m, Σ w y² and Σ w are the
    state: they add up. A⁻¹ follows by rank-one updates (Sherman & Morrison) and is recomputed now and then.

    A prediction's std is sqrt(zᵀA⁻¹z): how uncertain the mean is, not how much single targets scatter.

    Examples
    --------
    >>> prior = BlockPrior(tags=0, embedding=1, tag_precision=1, embedding_precision=1, bias_precision=1, bias_mean=0.5)
    >>> model = BayesianLinear(prior=prior, noise_variance=1.0)
    >>> model.predict(np.array([0.0, 1.0]))
    Estimate(mean=0.5, std=1.0)
    >>> model.update(np.array([0.0, 1.0]), 1.5)
    >>> model.predict(np.array([0.0, 1.0])).mean
    1.0
    """

    def __init__(self, *, prior: BlockPrior, noise_variance: float) -> None:
        self.prior = prior
        self.noise_variance = positive("noise_variance", noise_variance)
        self._prior_mean, self._prior_precision = prior.mean(), prior.precision()
        self._added = np.zeros((prior.dimension, prior.dimension))
        self._rows: list[NDArray[np.float64]] = []  # √w z of the updates that are not yet in `_added`.
        self._moment = np.zeros(prior.dimension)
        self._square = 0.0
        self._weight = 0.0
        self._revision = 0
        self._lifetime: dict[str, NDArray[np.float64]] | None = None  # None: nothing was ever forgotten.
        self._kept: dict[str, Any] = {}
        self._refactor()

    @property
    def revision(self) -> int:
        """Rises with every change of what is known."""
        return self._revision

    @property
    def dimension(self) -> int:
        """Length D of the features."""
        return self.prior.dimension

    @property
    def observations(self) -> float:
        """Sum of the weights of everything learned."""
        return self._weight

    @property
    def ever_learned(self) -> bool:
        """Whether anything was ever learned, forgotten since or not."""
        return self._weight > 0 or self._lifetime is not None

    @property
    def mean(self) -> NDArray[np.float64]:
        """Posterior mean of the weights, shape (D,)."""
        return self._covariance @ self._information

    def mean_from(self, prior_mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the posterior mean of the weights as it is with another prior mean θ0, shape (D,)."""
        return self._covariance @ (self._prior_precision * prior_mean + self._moment / self.noise_variance)

    def within_sums(self) -> WithinSums:
        """Return what the model adds to slopes that a pool shares, from all it ever learned; kept until it learns more.

        Notes
        -----
        Of the constant, the last feature, a level a ~ N(a0, 1/ρ) of its own is eliminated: with n = Σ w, g = Σ w z and
        s = n + ρσ², it is (G − ggᵀ/s)/σ² over the other features.
        """
        kept: WithinSums | None = self._kept.get("within")
        if kept is None:
            # Also of what was forgotten since: that must not move the others.
            gram, moment = self._lifetime_sums()
            sums = gram[-1, :-1].copy()
            effective = float(gram[-1, -1]) + self.prior.bias_precision * self.noise_variance
            precision = (gram[:-1, :-1] - np.outer(sums, sums / effective)) / self.noise_variance
            kept = self._kept["within"] = WithinSums(
                count=float(gram[-1, -1]),
                total=float(moment[-1]),
                effective=effective,
                sums=sums,
                moment=moment[:-1].copy(),
                precision=precision,
            )
        return kept

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Posterior covariance of the weights, shape (D, D); a copy."""
        return self._covariance.copy()

    def residual_variance(self) -> float:
        """Return the mean squared residual of what was learned, shrunk towards `noise_variance` by ten pseudo-targets.

        RSS = Σ w y² − 2 mᵀθ + θᵀGθ needs the additive state alone. Since Aθ = b, θᵀGθ = mᵀθ + σ² θᵀΛ0(θ0 − θ).
        """
        kept: float | None = self._kept.get("residual_variance")
        if kept is None:
            kept = self._kept["residual_variance"] = self._measured_variance()
        return kept

    def _measured_variance(self) -> float:
        theta = self.mean
        pulled = self.noise_variance * self._prior_precision * (self._prior_mean - theta)
        residual = self._square + float(theta @ (pulled - self._moment))
        return (max(0.0, residual) + _PSEUDO_TARGETS * self.noise_variance) / (self._weight + _PSEUDO_TARGETS)

    def predict(self, features: FloatArray) -> Estimate:
        """Return the estimate of the mean target at `features`, shape (D,)."""
        z, spread = self._facing(features)
        return Estimate(mean=float(spread @ self._information), std=math.sqrt(max(0.0, float(z @ spread))))

    def predict_from(self, features: FloatArray, prior_mean: NDArray[np.float64]) -> Estimate:
        """Return the estimate at `features`, shape (D,), as it is with another prior mean θ0, shape (D,)."""
        z, spread = self._facing(features)
        mean = float(z @ self.mean_from(prior_mean))
        return Estimate(mean=mean, std=math.sqrt(max(0.0, float(z @ spread))))

    def update(self, features: FloatArray, target: float, *, weight: float = 1.0) -> None:
        """Learn one observation.

        Raises
        ------
        InvalidValueError
            Where the features have another shape or one is not within ±1,000, the target is not within ±1e9, or the
            weight is not above 0 or above 1e6; the state stays as it was.
        """
        z, spread = self._facing(features)
        if abs(finite("target", target)) > _MAX_TARGET:
            raise InvalidValueError("target", target, f"between -{_MAX_TARGET:g} and {_MAX_TARGET:g}")
        if positive("weight", weight) > _MAX_WEIGHT:
            raise InvalidValueError("weight", weight, f"at most {_MAX_WEIGHT:g}")
        scale = self.noise_variance / weight + float(z @ spread)
        self._covariance -= _outer(spread, spread / scale)
        self._rows.append(math.sqrt(weight) * z)
        moment = (weight * target) * z
        self._moment += moment
        if self._lifetime is not None:
            self._add_to_lifetime(weight * _outer(z, z), moment, (weight * target * target, weight))
        self._information += (weight * target / self.noise_variance) * z
        self._square += weight * target * target
        self._weight += weight
        self._revision += 1
        self._updates_since_refactor += 1
        self._kept = {}
        if len(self._rows) == _ROWS_TOGETHER:
            self._gram = self._gram  # Adds them up.
        if self._updates_since_refactor >= _REFACTOR_EVERY:
            self._refactor()

    def update_many(self, features: FloatArray, targets: FloatArray) -> None:
        """Learn n observations of weight 1 at once, `features` of shape (n, D) and `targets` of shape (n,).

        Raises
        ------
        InvalidValueError
            As `update` does; the state stays as it was.
        """
        z, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
        if z.ndim != 2 or z.shape[1] != self.dimension or y.shape != (len(z),):
            raise InvalidValueError("features", z.shape, f"shape (n, {self.dimension}), one row for each target")
        if not (np.abs(z) <= _MAX_FEATURE).all():
            raise InvalidValueError("features", float(np.abs(z).max()), f"finite and within ±{_MAX_FEATURE:g}")
        if not (np.abs(y) <= _MAX_TARGET).all():
            raise InvalidValueError("targets", float(np.abs(y).max()), f"between -{_MAX_TARGET:g} and {_MAX_TARGET:g}")
        gram, moment, square = z.T @ z, z.T @ y, float(y @ y)
        self._gram += gram
        self._moment += moment
        self._square += square
        self._weight += len(z)
        self._add_to_lifetime(gram, moment, (square, float(len(z))))
        self._refactor()

    def forget(self, kept: float, recent: Mapping[str, NDArray[np.float64]]) -> None:
        """Forget a part of everything but what was learned recently: S ← kept · S + (1 − kept) · recent.

        `lifetime_state` goes on as if nothing had been forgotten. Both terms are sums of outer products with weights
        that are not negative, so that no variance can become negative.

        Parameters
        ----------
        kept
            Share that stays of what is not recent, in [0, 1].
        recent
            Sums of what is to stay whole, as `state` gives them for a model that has learned nothing else.

        Raises
        ------
        InvalidValueError
            Where `kept` is out of range.
        StateError
            Where `recent` does not fit; the state stays as it was.
        """
        fraction("kept", kept)
        before = self._sums()
        after = {name: kept * array + (1.0 - kept) * recent[name] for name, array in before.items() if name in recent}
        whole = self.lifetime_state()
        self.load_state({**after, **{_LIFETIME + name: array for name, array in whole.items()}})

    def lifetime_state(self) -> dict[str, NDArray[np.float64]]:
        """Return the sums of everything ever learned, forgotten or not, as `state` gives them."""
        if self._lifetime is None:
            return self._sums()
        return {name: array.copy() for name, array in self._lifetime.items()}

    def merge(self, other: Self) -> None:
        """Add what `other` has learned.

        Raises
        ------
        InvalidValueError
            Where `other` has another prior or noise.
        """
        if other.prior != self.prior or other.noise_variance != self.noise_variance:
            raise InvalidValueError("other", other.prior, "a model with the same prior and noise")
        if self._lifetime is not None or other._lifetime is not None:
            mine, theirs = self.lifetime_state(), other.lifetime_state()
            self._lifetime = {name: mine[name] + theirs[name] for name in mine}
        self._gram += other._gram
        self._moment += other._moment
        self._square += other._square
        self._weight += other._weight
        self._refactor()

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return the additive state: ``gram`` (D, D), ``moment`` (D,), ``sums`` (2,) of squares and weights.

        Where something was forgotten, the same of everything ever learned follows, its names begun by ``lifetime_``.
        """
        lifetime = {} if self._lifetime is None else self._lifetime
        return {**self._sums(), **{_LIFETIME + name: array.copy() for name, array in lifetime.items()}}

    def load_state(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Replace the state.

        Raises
        ------
        StateError
            Where an array is missing, has another shape, is not finite, or the gram matrix is not symmetric and
            positive semi-definite; the state stays as it was.
        """
        shapes = self._shapes()
        lifetime = {_LIFETIME + name: shape for name, shape in shapes.items()}
        if set(state) not in (set(shapes), set(shapes) | set(lifetime)):
            raise StateError(f"State has arrays {sorted(state)}, expected {sorted(shapes)}. Load another checkpoint.")
        for name, shape in (shapes | lifetime).items():
            if name in state:
                self._check_array(name, state[name], shape)
        gram = state["gram"].astype(np.float64)
        whole = {name: state[_LIFETIME + name].astype(np.float64) for name in shapes if _LIFETIME + name in state}
        for sums in (state["sums"], whole.get("sums", state["sums"])):
            if sums.min() < 0:
                raise StateError("State array 'sums' has a negative sum; it is damaged: load another checkpoint.")
        if not self._is_gram(gram) or not (not whole or self._is_gram(whole["gram"])):
            raise StateError(
                "State array 'gram' is not a sum of outer products; it is damaged: load another checkpoint."
            )
        self._gram = gram
        self._moment = state["moment"].astype(np.float64)
        self._square, self._weight = (float(total) for total in state["sums"])
        self._lifetime = whole or None
        self._refactor()

    def clone(self) -> Self:
        """Return an untrained copy with the same parameters."""
        return type(self)(prior=self.prior, noise_variance=self.noise_variance)

    @property
    def _gram(self) -> NDArray[np.float64]:
        if not self._rows:
            return self._added
        gram: NDArray[np.float64] | None = self._kept.get("gram")
        if gram is None:
            # Looking must not change how sums are rounded later: nothing is added here.
            rows = np.array(self._rows)
            gram = self._kept["gram"] = self._added + rows.T @ rows
        return gram

    @_gram.setter
    def _gram(self, gram: NDArray[np.float64]) -> None:
        self._added, self._rows = gram, []

    def _lifetime_sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self._lifetime is None:
            return self._gram, self._moment
        return self._lifetime["gram"], self._lifetime["moment"]

    def _sums(self) -> dict[str, NDArray[np.float64]]:
        return {
            "gram": self._gram.copy(),
            "moment": self._moment.copy(),
            "sums": np.array([self._square, self._weight]),
        }

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"gram": (self.dimension, self.dimension), "moment": (self.dimension,), "sums": (2,)}

    def _add_to_lifetime(
        self, gram: NDArray[np.float64], moment: NDArray[np.float64], sums: tuple[float, float]
    ) -> None:
        if self._lifetime is not None:
            self._lifetime["gram"] += gram
            self._lifetime["moment"] += moment
            self._lifetime["sums"] += sums

    @staticmethod
    def _check_array(name: str, array: NDArray[np.float64], shape: tuple[int, ...]) -> None:
        is_number = array.shape == shape and array.dtype.kind in "fiu"
        if not is_number or not (np.abs(array.astype(np.float64)) <= _MAX_SUM).all():  # float32 has no such bound
            raise StateError(
                f"State array {name!r} must hold finite numbers with shape {shape}; it has shape {array.shape}. "
                "It was learned with other features, or is damaged: load another checkpoint."
            )

    def _is_gram(self, gram: NDArray[np.float64]) -> bool:
        slack = 1e-8 * (1.0 + float(np.abs(gram).max()))
        if np.abs(gram - gram.T).max() > slack or np.linalg.eigvalsh(gram).min() < -slack * self.dimension:
            return False
        return bool(np.linalg.eigvalsh(self._precision_with(gram)).min() > 0)

    def _precision_with(self, gram: NDArray[np.float64]) -> NDArray[np.float64]:
        precision: NDArray[np.float64] = gram / self.noise_variance
        precision[np.diag_indices_from(precision)] += self._prior_precision
        return precision

    def _refactor(self) -> None:
        inverse = np.linalg.inv(self._precision_with(self._gram))
        self._covariance = (inverse + inverse.T) / 2
        self._information = self._prior_precision * self._prior_mean + self._moment / self.noise_variance
        self._updates_since_refactor = 0
        self._revision += 1
        self._kept = {}

    def _facing(self, features: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `features` z in double precision, and A⁻¹z, which a prediction and the update that follows share."""
        z = np.asarray(features, np.float64)
        known: tuple[bytes, NDArray[np.float64]] | None = self._kept.get("facing")
        if known is None or z.shape != (self.dimension,) or known[0] != z.tobytes():
            z = self._checked(z)
            known = self._kept["facing"] = z.tobytes(), self._covariance @ z
        return z, known[1]

    def _checked(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        if z.shape != (self.dimension,):
            raise InvalidValueError("features", z.shape, f"an array of shape ({self.dimension},)")
        largest = float(np.maximum.reduce(np.abs(z)))
        if not largest <= _MAX_FEATURE:
            raise InvalidValueError("features", largest, f"finite and within ±{_MAX_FEATURE:g}")
        return z


def _outer(column: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what `np.outer` does, by BLAS, in half the time."""
    product: NDArray[np.float64] = np.dot(column[:, None], row[None, :])
    return product
