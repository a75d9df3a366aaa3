"""Tables for people; loads rich, so import it only where one is printed."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mixllm.cli.masking import printable

__all__ = ["cell", "console", "plain_table"]

_PIPED_WIDTH = 160
"""Where there is no terminal, lines are not broken at the 80 columns of one."""


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
