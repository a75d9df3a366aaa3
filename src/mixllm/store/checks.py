"""Checks of what callers hand to a store, the same for every store."""

from __future__ import annotations

from mixllm.errors import InvalidValueError
from mixllm.types import MAX_ID_CHARS

__all__ = ["at_least", "checked_id", "is_id", "seconds"]

_MAX_CHARS = 3 * MAX_ID_CHARS
"""As long as `mixllm.types.Feedback` lets ids be."""


def at_least(parameter: str, value: int, minimum: int) -> int:
    """Return `value`, or raise `InvalidValueError` where it is below `minimum`.

    Examples
    --------
    >>> at_least("max_batch", 8, 1)
    8
    """
    if value < minimum:
        raise InvalidValueError(parameter, value, f">= {minimum}")
    return value


def seconds(parameter: str, value: float, *, most: float) -> float:
    """Return `value`, or raise `InvalidValueError` where it is negative, NaN or above `most`.

    Examples
    --------
    >>> seconds("busy_timeout_s", 5.0, most=3600)
    5.0
    """
    if not 0 <= value <= most:
        raise InvalidValueError(parameter, value, f"between 0 and {most:g} seconds")
    return value


def is_id(text: str) -> bool:
    r"""Return whether every store can keep `text` as an id: 1 to 600 characters, valid Unicode, no NUL.

    Examples
    --------
    >>> is_id("0193"), is_id(""), is_id("a\0b"), is_id("\ud800")
    (True, False, False, False)
    """
    if not 0 < len(text) <= _MAX_CHARS or "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_id(parameter: str, text: str) -> str:
    """Return `text`, or raise `InvalidValueError` where it cannot be an id."""
    if not is_id(text):
        raise InvalidValueError(parameter, text, f"1 to {_MAX_CHARS} characters of valid Unicode without NUL")
    return text
