"""What another policy would have earned, from what one policy earned: IPS, SNIPS and DR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.offpolicy.samples import Sample
from mixllm.units import positive

__all__ = ["ESTIMATORS", "Ratio", "doubly_robust", "ips", "logged_value", "snips"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ratio:
    """An estimate Σa/Σb over n decisions; every estimator here has that form.

    Parameters
    ----------
    numerator, denominator
        a and b, shape (n,).

    Examples
    --------
    >>> Ratio(numerator=np.array([1.0, 2.0]), denominator=np.ones(2)).value
    1.5
    """

    numerator: NDArray[np.float64]
    denominator: NDArray[np.float64]

    @property
    def value(self) -> float:
        """The estimate."""
        return float(self.numerator.sum() / self.denominator.sum())

    @property
    def influence(self) -> NDArray[np.float64]:
        """By how much each decision moves the estimate: (a − value·b) / mean(b), shape (n,); its mean is 0."""
        moved: NDArray[np.float64] = (self.numerator - self.value * self.denominator) / self.denominator.mean()
        return moved


def logged_value(sample: Sample) -> Ratio:
    """Return what the logging policy earned: the mean reward, made whole where it was not seen."""
    ones = np.ones(len(sample.rewards))
    return Ratio(numerator=sample.completed(sample.rewards), denominator=sample.completed(ones))


def ips(sample: Sample, *, clip: float | None = None) -> Ratio:
    """Return the estimate by inverse propensities (Horvitz & Thompson 1952).

    Parameters
    ----------
    sample
        One reward.
    clip
        Weights above this are cut down to it, > 0; None cuts nothing. It trades variance for bias.

    Notes
    -----
    V = 1/n Σ w r with w = π/p of the chosen LLM; where r was not seen, `Sample.completed` makes w r whole. Unbiased
    where every LLM that the target may choose had p > 0.
    """
    earned = sample.completed(_clipped(sample.ratios, clip) * sample.rewards)
    return Ratio(numerator=earned, denominator=np.ones(len(earned)))


def snips(sample: Sample, *, clip: float | None = None) -> Ratio:
    """Return the self-normalised estimate (Swaminathan & Joachims 2015).

    Parameters
    ----------
    sample, clip
        As `ips` takes them.

    Notes
    -----
    V = Σ w r / Σ w, both made whole by `Sample.completed`: within the range of the rewards, and shifted as they are;
    its bias falls with 1/n.
    """
    weights = _clipped(sample.ratios, clip)
    return Ratio(numerator=sample.completed(weights * sample.rewards), denominator=sample.completed(weights))


def doubly_robust(sample: Sample, *, clip: float | None = None) -> Ratio:
    """Return the doubly robust estimate (Dudík, Langford & Li 2011).

    Parameters
    ----------
    sample, clip
        As `ips` takes them.

    Notes
    -----
    V = 1/n Σ (Σ_l π_l r̂_l + w (r − r̂)), the second part made whole by `Sample.completed`. Unbiased as IPS is, whatever
    the model r̂; the better the model, the smaller the variance.
    """
    missed = _clipped(sample.ratios, clip) * (sample.rewards - sample.direct_chosen)
    corrected = sample.direct_target + sample.completed(missed)
    return Ratio(numerator=corrected, denominator=np.ones(len(corrected)))


ESTIMATORS: Final[Mapping[str, Callable[..., Ratio]]] = MappingProxyType(
    {"ips": ips, "snips": snips, "dr": doubly_robust}
)
"""Every estimator by its name."""


def _clipped(ratios: NDArray[np.float64], clip: float | None) -> NDArray[np.float64]:
    return ratios if clip is None else np.minimum(ratios, positive("clip", clip))
