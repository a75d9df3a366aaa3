"""``mixllm budget``: what is left."""

from __future__ import annotations

import click

from mixllm.cli.gateway_api import GatewayAPI
from mixllm.cli.options import gateway_options, json_option
from mixllm.cli.output import print_json, print_line, usd
from mixllm.cli.tables import cell, console, plain_table
from mixllm.types import Secret

__all__ = ["command"]


@click.command(name="budget")
@gateway_options
@json_option
def command(*, url: str, api_key: Secret | None, as_json: bool) -> None:
    """Show what a running gateway has left of its budgets.

    The budget over everything, and that of the key that asks.
    """
    answer = GatewayAPI(url=url, api_key=api_key).budget()
    if as_json:
        print_json(answer)
        return
    if answer.period is None:
        print_line("The gateway has no budget. Set one in the section budget of its configuration.")
        return
    table = plain_table("budget", "limit", "spent", "reserved", "left", "λ times", right=("limit", "spent", "reserved"))
    for name, account in (("total", answer.total), ("this key", answer.key)):
        if account is not None:
            amounts = (account.limit_usd, account.spent_usd, account.reserved_usd, account.remaining_usd)
            table.add_row(cell(name), *(usd(amount) for amount in amounts), f"{1 / account.cost_weight:.3g}")
    console().print(table)
    hours = (answer.end_s - answer.start_s) / 3600
    print_line(f"A period ({answer.period}) has {hours:g} h; when it is spent: {answer.when_spent}.")
    if any(account is not None and account.out_of_reach for account in (answer.total, answer.key)):
        print_line("Even the cheapest LLMs cost more than the budget's pace allows: it will not last for the period.")
