"""Whether the log says anything about the target policy at all; where it does not, a plain refusal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import NoSupportError
from mixllm.evaluation.offpolicy.logged import LoggedDecisions
from mixllm.evaluation.offpolicy.samples import Sample, seen_shares
from mixllm.types import Value
from mixllm.units import fraction, non_negative

__all__ = ["Support", "SupportLimits", "check_support", "support_of"]

_SHOWN = 5


class Support(Value, frozen=True, kw_only=True):
    """How much a log says about a target policy.

    Parameters
    ----------
    seen
        Decisions whose reward was seen.
    effective_sample_size
        (Σw)²/Σw² over them (Kish 1965): so many decisions of the target itself would say as much.
    unsupported_share
        Share of the target's choices that were never possible, or never seen to the end, in the log.
    unsupported_by_llm
        That share, LLM by LLM, where it is above 0.
    mean_weight
        Mean of w = π/p over them; 1 but for chance where the logged propensities are right.
    largest_weight
        The largest w.
    """

    seen: int
    effective_sample_size: float
    unsupported_share: float
    unsupported_by_llm: dict[str, float]
    mean_weight: float
    largest_weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportLimits:
    """Where an estimate is refused.

    Parameters
    ----------
    min_effective
        Least effective sample size, >= 0.
    max_unsupported
        Largest share of the target's choices without support, in [0, 1].
    """

    min_effective: float = 30.0
    max_unsupported: float = 0.01

    def __post_init__(self) -> None:
        non_negative("min_effective", self.min_effective)
        fraction("max_unsupported", self.max_unsupported)


def support_of(log: LoggedDecisions, target: NDArray[np.float64], sample: Sample) -> Support:
    """Return the support that `log` gives a target with propensities `target`, shape (n, K), for one reward."""
    shares = np.nan_to_num(seen_shares(log, sample.seen))
    missing = np.where((log.propensities > 0) & (shares > 0), 0.0, np.maximum(target, 0.0)).mean(axis=0)
    weights = (sample.seen_weights * sample.ratios)[sample.seen]
    squares = float(weights @ weights)
    return Support(
        seen=int(sample.seen.sum()),
        effective_sample_size=float(weights.sum()) ** 2 / squares if squares > 0 else 0.0,
        unsupported_share=float(missing.sum()),
        unsupported_by_llm={llm: float(share) for llm, share in zip(log.llms, missing, strict=True) if share > 0},
        mean_weight=float(weights.mean()) if len(weights) else 0.0,
        largest_weight=float(weights.max()) if len(weights) else 0.0,
    )


def check_support(support: Support, limits: SupportLimits, *, log: LoggedDecisions, reward: str) -> None:
    """Raise `NoSupportError`, with what to do, where `support` is beyond `limits`.

    Parameters
    ----------
    support, limits
        What there is, and what there must be.
    log
        The decisions, for the reasons.
    reward
        What the reward is called.
    """
    if not support.seen:
        raise NoSupportError(
            f"No decision of the log has a known {reward}, so no policy can be evaluated. Send feedback with metric "
            "quality (POST /v1/feedback, or mixllm feedback), and record what calls cost."
        )
    if support.unsupported_share > limits.max_unsupported:
        worst = sorted(support.unsupported_by_llm.items(), key=lambda item: -item[1])[:_SHOWN]
        listing = ", ".join(f"{llm} {share:.1%}" for llm, share in worst)
        raise NoSupportError(
            f"The log cannot say what this policy would have done: {support.unsupported_share:.1%} of its choices "
            f"were never tried, or never with a known {reward} ({listing}; allowed are {limits.max_unsupported:.1%}). "
            f"{_why(log)}Let the gateway explore for a while with routing.policy.name: squarecb or thompson, collect "
            "feedback for every LLM, and ask again; or ask about a policy that is nearer to the logged one."
        )
    if support.effective_sample_size < limits.min_effective:
        raise NoSupportError(
            f"The log says too little about this policy: its {support.seen} decisions with a known {reward} are worth "
            f"{support.effective_sample_size:.1f} of the policy's own, and {limits.min_effective:g} are needed. "
            "Collect more decisions and feedback with more exploration (routing.policy: a smaller gap_weight, a larger "
            "scale), or ask about a policy that is nearer to the logged one."
        )


def _why(log: LoggedDecisions) -> str:
    certain = float((log.propensities.max(axis=1) >= 1.0).mean())
    if certain == 0:
        return ""
    names = ", ".join(sorted(log.policies))
    return (
        f"{certain:.0%} of the logged decisions (made by {names}) were certain, with propensity 1, as greedy and ucb "
        "decide: nothing else was tried. "
    )
