"""Ids of decisions."""

from __future__ import annotations

import os

__all__ = ["call_id", "decided_at_s", "new_decision_id"]

_TIME_MASK = (1 << 48) - 1

_VARIANTS = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""The digit of the UUID's variant, 0b10 and two random bits, from a random digit."""


def new_decision_id(time_s: float) -> str:
    """Return a UUID of version 7 (RFC 9562) for a decision made at the Unix time `time_s`.

    It sorts by time, so that stores and people can page through decisions.

    Examples
    --------
    >>> earlier, later = new_decision_id(1.0), new_decision_id(2.0)
    >>> earlier < later, earlier[:15], len(earlier)
    (True, '00000000-03e8-7', 36)
    """
    # Written as text at once: `uuid.UUID` takes several times as long, on the path of every decision.
    time = f"{int(time_s * 1000) & _TIME_MASK:012x}"
    drawn = os.urandom(10).hex()
    return f"{time[:8]}-{time[8:]}-7{drawn[:3]}-{_VARIANTS[drawn[3]]}{drawn[4:7]}-{drawn[7:19]}"


def decided_at_s(decision_id: str) -> float | None:
    """Return the Unix time at which the decision of that id was made; None where the id does not tell.

    Examples
    --------
    >>> decided_at_s(new_decision_id(1234.5))
    1234.5
    >>> decided_at_s("my-own-id") is None
    True
    """
    digits = decision_id[:8] + decision_id[9:13]
    try:
        return int(digits, 16) / 1000 if len(digits) == 12 else None
    except ValueError:
        return None


def call_id(decision_id: str, attempt: int) -> str:
    """Return the name of one of the calls of a decision; the first one's is the decision's own.

    Examples
    --------
    >>> call_id("d", 0), call_id("d", 2)
    ('d', 'd/2')
    """
    return decision_id if attempt == 0 else f"{decision_id}/{attempt}"
