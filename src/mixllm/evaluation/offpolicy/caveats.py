"""What to keep in mind of an estimate, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from mixllm.evaluation.offpolicy.intervals import standard_error
from mixllm.evaluation.offpolicy.logged import LoggedDecisions
from mixllm.evaluation.offpolicy.samples import Sample, seen_shares
from mixllm.evaluation.offpolicy.support import Support

__all__ = ["caveats_of"]

_STANDARD_ERRORS = 3.0
_FEW = 100.0


def caveats_of(
    log: LoggedDecisions,
    *,
    judged: NDArray[np.bool_],
    supports: Mapping[str, Support],
    samples: Mapping[str, Sample],
    clip: float | None,
) -> tuple[str, ...]:
    """Return what a reader of the report must know beside its numbers.

    Parameters
    ----------
    log
        What was evaluated.
    judged
        Which decisions were judged, shape (n,).
    supports, samples
        By name of the reward.
    clip
        The largest weight, if weights were cut.
    """
    return (
        *_of_judging(log, judged),
        *_of_support(supports["quality"]),
        *_of_weights(samples["cost_usd"], supports["cost_usd"], clip),
        *_of_outcomes(log),
    )


def _of_judging(log: LoggedDecisions, judged: NDArray[np.bool_]) -> Iterator[str]:
    share = float(judged.mean())
    if share == 1:
        return
    yield (
        f"Only {share:.0%} of the decisions were judged; what the others were worth is inferred from these. That is "
        "right only where, for a given LLM, good and bad answers are judged alike."
    )
    shares = seen_shares(log, judged)
    counts = np.bincount(log.chosen, minlength=len(log.llms))
    scatter = np.sqrt(share * (1.0 - share) / np.maximum(counts, 1))
    odd = [
        llm
        for llm, one, std in zip(log.llms, shares, scatter, strict=True)
        if abs(one - share) > _STANDARD_ERRORS * std
    ]
    if odd:
        yield (
            f"Some LLMs are judged more often than others ({', '.join(odd)}; see judged_share): their judgements are "
            "weighted so that every LLM counts as if it were judged equally often."
        )


def _of_support(support: Support) -> Iterator[str]:
    if support.unsupported_share > 0:
        yield (
            f"{support.unsupported_share:.2%} of the target's choices were never tried: quality may be off by up to "
            f"{support.unsupported_share:.4f} beyond the interval."
        )
    if support.effective_sample_size < _FEW:
        yield (
            f"The judged decisions are worth only {support.effective_sample_size:.0f} of the target's own: the "
            "intervals are rough."
        )


def _of_weights(sample: Sample, support: Support, clip: float | None) -> Iterator[str]:
    if clip is not None:
        cut = float((sample.ratios > clip).mean())
        if cut > 0:
            yield f"{cut:.2%} of the weights were cut to {clip:g}: the estimates are biased towards the logged policy."
        return
    off = sample.ratios - 1.0
    expected = 1.0 - support.unsupported_share
    if abs(sample.ratios.mean() - expected) > _STANDARD_ERRORS * max(standard_error(off - off.mean()), 1e-9):
        yield (
            f"The mean weight is {sample.ratios.mean():.3f}, not {expected:.3f}: the logged propensities do not fit "
            "what was chosen, or the log is incomplete."
        )


def _of_outcomes(log: LoggedDecisions) -> Iterator[str]:
    left_out = log.without_outcome + log.incomplete
    if left_out > 0.05 * (left_out + len(log)):
        yield (
            f"{left_out} decisions were left out because what came of them is not known. That is harmless only where "
            "it does not depend on who was chosen."
        )
