"""A decision, explained: what was forecast of each LLM, and why the others were not chosen."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from mixllm.cli.output import seconds, usd
from mixllm.cli.tables import cell, plain_table
from mixllm.types import Candidate, Decision

__all__ = ["explanation", "why_not"]

_COLUMNS = ("", "LLM", "quality", "tokens out", "cost", "latency", "judgements", "score", "p", "why not")
_NUMBERS = _COLUMNS[2:9]
_SEEN = 0.0005
"""Differences of the score below this are not shown."""


def explanation(decision: Decision) -> RenderableType:
    """Return the decision as two lines, a table of the candidates by score, and the LLMs that were ruled out."""
    parts: list[RenderableType] = [
        cell(f"→ {decision.llm}: {decision.reason}", style="bold"),
        cell(_circumstances(decision)),
        _candidates(decision),
    ]
    if decision.ineligible:
        table = plain_table("ruled out", "why")
        for refusal in decision.ineligible:
            table.add_row(cell(refusal.llm), cell(refusal.reason))
        parts += ["", table]
    return Group(*parts)


def why_not(candidate: Candidate, decision: Decision) -> str:
    """Return in which terms of the score `candidate` lost to the chosen LLM.

    Notes
    -----
    The terms are those of the score, λ/(1+λ) · quality, −1/(1+λ) · cost/c_ref, and the penalty for waiting, each as
    the difference to the chosen LLM's.
    """
    chosen = decision.chosen
    gap = candidate.score - chosen.score
    if candidate.llm == chosen.llm:
        return ""
    if gap > 0:
        return f"scores {gap:.3f} more, but {decision.policy} explored"
    here, there = _terms(candidate, decision), _terms(chosen, decision)
    losses = sorted((here[name] - there[name], name) for name in here)
    named = [f"{name} ({loss:+.3f})" for loss, name in losses if loss <= -_SEEN]
    return ", ".join(named) or "no better"


def _terms(candidate: Candidate, decision: Decision) -> dict[str, float]:
    quality_weight = decision.trade_off / (1.0 + decision.trade_off)
    forecast = candidate.forecast
    quality = quality_weight * forecast.quality.mean
    cost = (1.0 - quality_weight) * forecast.cost_usd.mean / decision.cost_scale_usd
    rest = "slower" if decision.out_of_domain < _SEEN else "slower or less certain"
    return {"lower quality": quality, "costs more": -cost, rest: candidate.score - quality + cost}


def _circumstances(decision: Decision) -> str:
    tags = ", ".join(f"{tag.tag} {tag.probability:.2f}" for tag in decision.tags)
    return (
        f"λ {decision.trade_off:g} · policy {decision.policy} · p {decision.propensity:.3f} · tags: {tags or 'none'} · "
        f"{decision.tokens_in} prompt tokens · cost scale {usd(decision.cost_scale_usd)} · "
        f"out of domain {decision.out_of_domain:.2f} · model version {decision.model_version}"
    )


def _candidates(decision: Decision) -> Table:
    table = plain_table(*_COLUMNS, right=_NUMBERS)
    for candidate in sorted(decision.candidates, key=lambda candidate: -candidate.score):
        forecast = candidate.forecast
        chosen = candidate.llm == decision.llm
        row = (
            "→" if chosen else "",
            candidate.llm,
            f"{forecast.quality.mean:.3f} ± {forecast.quality.std:.3f}",
            f"{forecast.tokens_out.mean:.0f} ± {forecast.tokens_out.std:.0f}",
            usd(forecast.cost_usd.mean),
            seconds(forecast.latency_s.mean),
            f"{forecast.judgements:.0f}",
            f"{candidate.score:.3f}",
            f"{candidate.propensity:.3f}",
            why_not(candidate, decision),
        )
        table.add_row(*(cell(text, style="bold" if chosen else "") for text in row))
    return table
