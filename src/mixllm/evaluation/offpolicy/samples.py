"""One kind of reward, ready to be estimated: weights, rewards, who was judged, and what a model expects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.evaluation.offpolicy.logged import LoggedDecisions

__all__ = ["Sample", "checked_target", "sample_of", "seen_shares"]

_SUM_TOLERANCE = 1e-6
_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """n decisions with one reward.

    Parameters
    ----------
    chosen
        Column of the LLM that was chosen, shape (n,).
    ratios
        π/p of the chosen LLM, shape (n,).
    rewards
        What came of it, shape (n,); 0 where that was not seen.
    seen
        Whether it was seen, bool, shape (n,).
    inverse_shares
        1 / the share of the chosen LLM's decisions whose reward was seen, where it was seen; else 0. Shape (n,).
    direct_chosen
        What the direct model expects of the chosen LLM, shape (n,).
    direct_target
        What it expects of the target policy: Σ_l π_l r̂_l, shape (n,).
    """

    chosen: NDArray[np.intp]
    ratios: _Array
    rewards: _Array
    seen: NDArray[np.bool_]
    inverse_shares: _Array
    direct_chosen: _Array
    direct_target: _Array

    @property
    def seen_weights(self) -> _Array:
        """J̄/J_l where the reward was seen, 0 elsewhere, shape (n,): their sum is the number of seen rewards."""
        weights: _Array = self.inverse_shares * self.seen.mean()
        return weights

    def completed(self, values: _Array) -> _Array:
        """Return `values` made whole where the reward was not seen, shape (n,).

        Parameters
        ----------
        values
            Numbers that are right where the reward was seen; the others are not read. Shape (n,).

        Notes
        -----
        v̄_l + o/J_l · (v − v̄_l), with o = 1 where the reward was seen, J_l the share of the LLM's decisions where it
        was and v̄_l the mean there. The sum is that of o/J_l · v, and the scatter says how sure it is although J_l is
        itself estimated. An LLM of which nothing was seen has 0.
        """
        known = np.where(self.seen, values, 0.0)
        sums = np.bincount(self.chosen, weights=known)
        counts = np.bincount(self.chosen, weights=self.seen)
        means = np.divide(sums, counts, out=np.zeros(len(sums)), where=counts > 0)[self.chosen]
        whole: _Array = means + self.inverse_shares * (known - means)
        return whole


def sample_of(log: LoggedDecisions, *, target: _Array, rewards: _Array, direct: _Array) -> Sample:
    """Return the sample of one reward.

    Parameters
    ----------
    log
        n decisions over K LLMs.
    target
        The target's propensities, shape (n, K).
    rewards
        The reward of each decision, NaN where it was not seen, shape (n,).
    direct
        What the direct model expects of each candidate, shape (n, K).
    """
    seen = ~np.isnan(rewards)
    shares = seen_shares(log, seen)
    return Sample(
        chosen=log.chosen,
        ratios=log.of_chosen(target) / log.chosen_propensities,
        rewards=np.where(seen, rewards, 0.0),
        seen=seen,
        inverse_shares=np.divide(1.0, shares[log.chosen], out=np.zeros(len(log)), where=seen),
        direct_chosen=log.of_chosen(direct),
        direct_target=(target * np.where(log.candidates, direct, 0.0)).sum(axis=1),
    )


def seen_shares(log: LoggedDecisions, seen: NDArray[np.bool_]) -> _Array:
    """Return for each LLM the share of the decisions for it whose reward was seen, shape (K,); NaN for none at all."""
    counts = np.bincount(log.chosen, minlength=len(log.llms))
    known = np.bincount(log.chosen, weights=seen, minlength=len(log.llms))
    shares: _Array = np.divide(known, counts, out=np.full(len(log.llms), np.nan), where=counts > 0)
    return shares


def checked_target(log: LoggedDecisions, target: _Array) -> _Array:
    """Return `target` where it is a probability of each candidate, shape (n, K); raises `InvalidValueError`."""
    if target.shape != log.propensities.shape:
        raise InvalidValueError("target", f"shape {target.shape}", f"of shape {log.propensities.shape}")
    if not np.isfinite(target).all() or (target < -_SUM_TOLERANCE).any():
        raise InvalidValueError("target", "a probability that is not", "finite and >= 0")
    if (target[~log.candidates] != 0).any():
        raise InvalidValueError("target", "a probability above 0", "0 for LLMs that were no candidates")
    if (np.abs(target.sum(axis=1) - 1) > _SUM_TOLERANCE).any():
        raise InvalidValueError("target", "a row that does not", "1 in sum in each row")
    return target
