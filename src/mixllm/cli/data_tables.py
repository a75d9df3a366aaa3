"""Routing logs for people: a summary, and a table of problems."""

from __future__ import annotations

import numpy as np

from mixllm.cli.output import print_line, usd
from mixllm.cli.tables import cell, console, plain_table
from mixllm.logs import LogReport, RoutingLog
from mixllm.types import Value

__all__ = ["LLMSummary", "LogSummary", "print_report", "print_summary", "summary_of"]


class LLMSummary(Value, frozen=True, kw_only=True):
    """What a log says of one LLM; means are null where nothing is known."""

    llm: str
    asked: int
    judged: int
    quality: float | None
    cost_usd: float | None


class LogSummary(Value, frozen=True, kw_only=True):
    """What is in a log.

    Parameters
    ----------
    name
        What it is called.
    queries, outcomes
        How many.
    llms
        Each LLM.
    strongest
        The LLM of the highest mean quality, null where no answer was judged.
    labels
        Names of the labels.
    encoder
        Fingerprint of the encoder whose encodings it holds, if any.
    propensities
        Whether it says with which probability each LLM was chosen.
    left_out
        How many broken rows were left out.
    """

    name: str
    queries: int
    outcomes: int
    llms: tuple[LLMSummary, ...]
    strongest: str | None
    labels: tuple[str, ...]
    encoder: str | None
    propensities: bool
    left_out: int


def summary_of(log: RoutingLog) -> LogSummary:
    """Return what is in `log`."""
    judged = ~np.isnan(log.quality)
    return LogSummary(
        name=log.name,
        queries=len(log),
        outcomes=int(log.asked.sum()),
        llms=tuple(
            LLMSummary(llm=llm, asked=asked, judged=count, quality=_known(quality), cost_usd=_known(cost_usd))
            for llm, asked, count, quality, cost_usd in zip(
                log.llms,
                log.asked.sum(axis=0).tolist(),
                judged.sum(axis=0).tolist(),
                log.mean_quality().tolist(),
                log.mean_cost_usd().tolist(),
                strict=True,
            )
        ),
        strongest=log.strongest() if judged.any() else None,
        labels=tuple(log.labels),
        encoder=log.encoder,
        propensities=log.propensities is not None,
        left_out=log.left_out,
    )


def print_summary(summary: LogSummary) -> None:
    """Print a line and a table of the LLMs, the best first."""
    chosen = ", what a router chose" if summary.propensities else ""
    print_line(
        f"{summary.name}: {summary.queries} queries, {len(summary.llms)} LLMs, {summary.outcomes} outcomes{chosen}; "
        f"labels: {', '.join(summary.labels) or 'none'}; strongest: {summary.strongest or 'not known'}"
    )
    if summary.left_out:
        print_line(f"{summary.left_out} broken rows are left out. See them: mixllm data check")
    numbers = ("asked", "judged", "mean quality", "mean cost")
    table = plain_table("LLM", *numbers, right=numbers)
    for row in sorted(summary.llms, key=lambda one: -1.0 if one.quality is None else one.quality, reverse=True):
        table.add_row(
            cell(row.llm),
            str(row.asked),
            str(row.judged),
            "" if row.quality is None else f"{row.quality:.4f}",
            "" if row.cost_usd is None else usd(row.cost_usd),
        )
    console().print(table)


def print_report(report: LogReport) -> None:
    """Print the problems, and what is left without the broken rows."""
    if report.ok:
        print_line(f"{report.path}: no problems; {report.queries} queries, {report.llms} LLMs.")
        return
    table = plain_table("file", "column", "row", "query", "problem", right=("row",))
    for problem in report.problems:
        row = "" if problem.row is None else str(problem.row)
        table.add_row(
            cell(problem.file), cell(problem.column or ""), row, cell(problem.query_id or ""), cell(problem.message)
        )
    console().print(table)
    listed = "" if len(report.problems) == report.count else f", of which {len(report.problems)} are listed"
    if report.usable:
        left = (
            f"Without {report.left_out} broken rows (--drop-broken, broken='drop') {report.queries} queries and "
            f"{report.llms} LLMs are left."
        )
    else:
        left = "The log cannot be used."
    print_line(f"{report.path}: {report.count} problems{listed}. {left}")


def _known(mean: float) -> float | None:
    return None if np.isnan(mean) else mean
