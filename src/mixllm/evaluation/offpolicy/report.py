"""What came of asking: frozen values, as JSON and as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mixllm.evaluation.offpolicy.support import Support
from mixllm.types import Value

__all__ = ["Comparison", "LLMShares", "Measured", "RewardReport", "TableRow", "WhatIfReport", "table_rows"]


class Measured(Value, frozen=True, kw_only=True):
    """An estimate, its standard error and its interval."""

    value: float
    std_error: float
    low: float
    high: float


class Comparison(Value, frozen=True, kw_only=True):
    """What one estimator says of the target, and of its difference to the logged policy (paired)."""

    target: Measured
    difference: Measured


class RewardReport(Value, frozen=True, kw_only=True):
    """One reward: what the logged policy had of it, and what the target would have had.

    Parameters
    ----------
    logged
        Mean of the logged policy.
    estimates
        By name of the estimator.
    support
        How much the log says.
    """

    logged: Measured
    estimates: dict[str, Comparison]
    support: Support


class LLMShares(Value, frozen=True, kw_only=True):
    """One LLM: its share of the choices, logged and by the target, and how much of what it did was judged."""

    logged_share: float
    target_share: float
    judged_share: float | None


class WhatIfReport(Value, frozen=True, kw_only=True):
    """What another policy would have done with the logged queries.

    Parameters
    ----------
    policy, trade_off, without
        The target; `trade_off` is null where each decision kept its own.
    level, interval, clip, direct
        How the intervals and estimates were made.
    decisions
        Decisions that were evaluated.
    forced, without_outcome, incomplete, unanswerable
        Decisions left out: the request named the LLM; nothing is known of what came of it; the log does not tell the
        choice; no LLM that is left could take it.
    logged_policies
        How many decisions each policy made.
    cost_scale_usd
        The c_ref of the score: the mean of the logged ones.
    judged_share
        Share of the decisions that were judged.
    quality, cost_usd, score
        Means per decision; the score is λ/(1+λ) · quality − 1/(1+λ) · cost/c_ref at the target's λ, for both policies.
    llms
        The LLMs.
    warnings
        What to keep in mind, in words.
    """

    policy: str
    trade_off: float | None
    without: tuple[str, ...]
    level: float
    interval: str
    clip: float | None
    direct: str
    decisions: int
    forced: int
    without_outcome: int
    incomplete: int
    unanswerable: int
    logged_policies: dict[str, int]
    cost_scale_usd: float
    judged_share: float
    quality: RewardReport
    cost_usd: RewardReport
    score: RewardReport
    llms: dict[str, LLMShares]
    warnings: tuple[str, ...]


class TableRow(NamedTuple):
    """A line for people: what is estimated, by what, and the numbers; no difference for the logged policy."""

    reward: str
    estimator: str
    value: Measured
    difference: Measured | None
    effective: float


def table_rows(report: WhatIfReport) -> Iterator[TableRow]:
    """Yield for each reward the logged policy, then each estimator."""
    for name in ("quality", "cost_usd", "score"):
        reward: RewardReport = getattr(report, name)
        yield TableRow(name, "logged", reward.logged, None, float(reward.support.seen))
        for estimator, found in reward.estimates.items():
            yield TableRow(name, estimator, found.target, found.difference, reward.support.effective_sample_size)
