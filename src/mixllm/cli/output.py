"""What commands print: one JSON object, or tables and lines for people."""

from __future__ import annotations

import math
import os
import sys

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mixllm.cli.masking import printable
from mixllm.types import Price

__all__ = ["cell", "console", "plain_table", "price_per_million", "print_json", "print_line", "seconds", "usd"]

_PIPED_WIDTH = 160
"""Where there is no terminal, lines are not broken at the 80 columns of one."""


def print_json(value: object) -> None:
    """Print `value` as one line of JSON."""
    click.echo(msgspec.json.encode(value).decode())


def print_line(text: str) -> None:
    """Print one line for people."""
    click.echo(printable(text))


def console() -> Console:
    """Return a console on stdout that prints what it is given, without guessing at markup."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def plain_table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """Return an empty table; the columns named in `right` hold numbers and are never broken."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numbers = column in right
        table.add_column(column, justify="right" if numbers else "left", no_wrap=numbers, overflow="fold")
    return table


def cell(text: str, *, style: str = "") -> Text:
    """Return a cell that shows `text` as it is: names may hold brackets, and must not steer the terminal."""
    return Text(printable(text), style=style)


def usd(amount: float) -> str:
    """Return an amount with three figures that count.

    Examples
    --------
    >>> usd(0.00012345), usd(12.3), usd(0)
    ('$0.000123', '$12.30', '$0')
    """
    if amount == 0 or not math.isfinite(amount):
        return f"${amount:g}"
    places = max(2, 2 - math.floor(math.log10(abs(amount))))
    return f"${amount:.{min(places, 12)}f}"


def seconds(duration_s: float) -> str:
    """Return a duration, short ones in milliseconds.

    Examples
    --------
    >>> seconds(1.234), seconds(0.0123)
    ('1.23 s', '12.3 ms')
    """
    return f"{duration_s:.2f} s" if duration_s >= 1 else f"{duration_s * 1000:.3g} ms"


def price_per_million(price: Price | None) -> str:
    """Return a price as ``in / out`` per million tokens.

    Examples
    --------
    >>> price_per_million(Price(usd_per_million_tokens_in=2.5, usd_per_million_tokens_out=10))
    '$2.50 / $10.00'
    """
    if price is None:
        return "unknown"
    return f"{usd(price.usd_per_million_tokens_in)} / {usd(price.usd_per_million_tokens_out)}"
