"""What another policy would have done, for people."""

from __future__ import annotations

from mixllm.cli.output import print_line, usd
from mixllm.cli.tables import cell, console, plain_table
from mixllm.evaluation.offpolicy import ShadowAgreement, WhatIfReport
from mixllm.evaluation.offpolicy.report import Measured, table_rows

__all__ = ["print_agreement", "print_whatif"]

_SHOWN_PAIRS = 5
_TITLES = {"quality": "quality", "cost_usd": "cost per decision", "score": "score"}


def print_whatif(report: WhatIfReport) -> None:
    """Print a report: what was asked, the estimates, the LLMs' shares and what to keep in mind."""
    print_line(_asked(report))
    between = f"{report.level:.0%} interval"
    columns = ("", "by", "value", between, "against logged", f"{between} of that", "decisions worth")
    table = plain_table(*columns, right=columns[2:])
    last = ""
    for row in table_rows(report):
        money = row.reward == "cost_usd"
        title = "" if row.reward == last else _TITLES[row.reward]
        last = row.reward
        difference = ("", "") if row.difference is None else _both(row.difference, money=money, signed=True)
        table.add_row(
            title, row.estimator, *_both(row.value, money=money, signed=False), *difference, f"{row.effective:.0f}"
        )
    console().print(table)
    print_line("")
    shares = plain_table("LLM", "logged", "asked", "judged", right=("logged", "asked", "judged"))
    for llm, one in report.llms.items():
        judged = "–" if one.judged_share is None else f"{one.judged_share:.1%}"
        shares.add_row(cell(llm), f"{one.logged_share:.1%}", f"{one.target_share:.1%}", judged)
    console().print(shares)
    for warning in report.warnings:
        print_line("")
        print_line(f"Note: {warning}")


def print_agreement(name: str, agreement: ShadowAgreement) -> None:
    """Print how a shadow's choices compare with the live policy's."""
    cost = agreement.cost_difference_usd
    print_line(
        f"The shadow {name} (mean λ {agreement.shadow_lambda:.3g}) beside the live policy (mean λ "
        f"{agreement.live_lambda:.3g}): {agreement.decisions} decisions of both, {agreement.agreement:.1%} with the "
        f"same choice. By the forecasts it costs {'-' if cost < 0 else '+'}{usd(abs(cost))} and is worth "
        f"{agreement.quality_difference:+.4f} of quality a decision, against the live policy."
    )
    for pair, count in list(agreement.choices.items())[:_SHOWN_PAIRS]:
        print_line(f"  {pair}: {count}")
    print_line("")


def _asked(report: WhatIfReport) -> str:
    trade_off = "each decision's own λ" if report.trade_off is None else f"λ = {report.trade_off:g}"
    without = f", without {', '.join(report.without)}" if report.without else ""
    logged = ", ".join(f"{name} {count}" for name, count in sorted(report.logged_policies.items()))
    left_out = report.forced + report.without_outcome + report.incomplete + report.unanswerable
    return (
        f"What if {report.policy} with {trade_off}{without} had decided? {report.decisions} decisions (by {logged}), "
        f"{report.judged_share:.1%} judged; {left_out} left out ({report.forced} forced, {report.without_outcome} "
        f"without an outcome, {report.incomplete} incomplete, {report.unanswerable} that no LLM left could take)."
    )


def _both(measured: Measured, *, money: bool, signed: bool) -> tuple[str, str]:
    def text(amount: float) -> str:
        shown = usd(abs(amount)) if money else f"{abs(amount):.4f}"
        sign = "-" if amount < 0 else "+" if signed else ""
        return f"{sign}{shown}"

    return text(measured.value), f"{text(measured.low)} … {text(measured.high)}"
