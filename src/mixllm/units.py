"""Conversions and bounds of the units that names carry (``_usd``, ``_s``, ``_per_million_tokens``)."""

from __future__ import annotations

import math

from mixllm.errors import InvalidValueError

__all__ = [
    "TOKENS_PER_MILLION",
    "finite",
    "fraction",
    "non_negative",
    "positive",
    "tokens_from_chars",
    "usd_for_tokens",
]

TOKENS_PER_MILLION = 1_000_000
"""Prices are quoted per this many tokens."""

_CHARS_PER_TOKEN = 4.0
"""English text in the tokenisers of today's LLMs; only used where nobody counted the tokens."""


def usd_for_tokens(tokens: float, usd_per_million_tokens: float) -> float:
    """Return the price of `tokens` tokens.

    Examples
    --------
    >>> usd_for_tokens(2_000, 2.5)
    0.005
    """
    return tokens * usd_per_million_tokens / TOKENS_PER_MILLION


def tokens_from_chars(chars: int) -> int:
    """Estimate the number of tokens of a text of `chars` characters, at least 1.

    Examples
    --------
    >>> tokens_from_chars(400)
    100
    """
    return max(1, math.ceil(chars / _CHARS_PER_TOKEN))


def finite(parameter: str, value: float) -> float:
    """Return `value`, or raise `InvalidValueError` where it is NaN or infinite."""
    if not _is_finite(value):
        raise InvalidValueError(parameter, value, "a finite number")
    return value


def non_negative(parameter: str, value: float) -> float:
    """Return `value`, or raise `InvalidValueError` where it is negative, NaN or infinite."""
    if not (_is_finite(value) and value >= 0):
        raise InvalidValueError(parameter, value, "a finite number >= 0")
    return value


def positive(parameter: str, value: float) -> float:
    """Return `value`, or raise `InvalidValueError` where it is not above 0, NaN or infinite."""
    if not (_is_finite(value) and value > 0):
        raise InvalidValueError(parameter, value, "a finite number > 0")
    return value


def fraction(parameter: str, value: float) -> float:
    """Return `value`, or raise `InvalidValueError` where it is outside [0, 1] or NaN."""
    if not (_is_finite(value) and 0 <= value <= 1):
        raise InvalidValueError(parameter, value, "between 0 and 1")
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except (OverflowError, TypeError):
        # An integer beyond every float, or no number at all: both come in JSON and YAML.
        return False
