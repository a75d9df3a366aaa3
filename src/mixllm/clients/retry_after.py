"""How long an endpoint asks to wait, from the headers of its refusal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["retry_after_s"]


def retry_after_s(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """Return the wait that ``Retry-After`` (seconds or an HTTP date) or ``retry-after-ms`` asks for; None without one.

    Parameters
    ----------
    headers
        Headers of the answer, in a mapping that ignores case.
    now_s
        Unix time, for dates; the answer's own ``Date`` goes before it, as clocks differ.

    Examples
    --------
    >>> retry_after_s({"Retry-After": "2"}, now_s=0)
    2.0
    >>> retry_after_s({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, now_s=15)
    45.0
    >>> retry_after_s({"Retry-After": "soon"}, now_s=0) is None
    True
    """
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("Retry-After", "").strip()
    seconds = _seconds(value)
    if seconds is not None:
        return seconds
    until_s = _unix_time(value)
    if until_s is None:
        return None
    sent_s = _unix_time(headers.get("Date", ""))
    return max(0.0, until_s - (now_s if sent_s is None else sent_s))


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _unix_time(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    except OverflowError:
        return None
