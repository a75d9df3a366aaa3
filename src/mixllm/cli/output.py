"""What commands print: one JSON object, or lines for people; numbers with their units."""

from __future__ import annotations

import math

import click
import msgspec

from mixllm.cli.masking import printable
from mixllm.types import Price

__all__ = ["price_per_million", "print_json", "print_line", "seconds", "usd"]

_CENT = 0.01


def print_json(value: object) -> None:
    """Print `value` as one line of JSON."""
    click.echo(msgspec.json.encode(value).decode())


def print_line(text: str) -> None:
    """Print one line for people."""
    click.echo(printable(text))


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
    both = (price.usd_per_million_tokens_in, price.usd_per_million_tokens_out)
    return " / ".join(f"${amount:.2f}" if amount >= _CENT else usd(amount) for amount in both)
