"""How far back a report looks."""

from __future__ import annotations

import re

from mixllm.errors import InvalidValueError

__all__ = ["EVERYTHING", "period_s"]

EVERYTHING = "all"
"""What stands for no limit."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FORM = re.compile(r"([0-9]{1,9})([smhdw])")


def period_s(text: str) -> float | None:
    """Return the length of a period in seconds; None for ``all``.

    Raises
    ------
    InvalidValueError
        Where `text` is no number with a unit.

    Examples
    --------
    >>> period_s("90m"), period_s("7d"), period_s("all")
    (5400.0, 604800.0, None)
    """
    if text == EVERYTHING:
        return None
    form = _FORM.fullmatch(text)
    if form is None or not int(form[1]):
        raise InvalidValueError("since", text, "a number with s, m, h, d or w, such as 24h or 7d, or all")
    return float(int(form[1]) * _UNITS_S[form[2]])
