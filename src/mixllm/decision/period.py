"""The periods of a budget: hours, days, weeks, months, or any number of seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, get_args

from mixllm.errors import InvalidValueError
from mixllm.units import positive

__all__ = ["Period", "PeriodName"]

PeriodName = Literal["hour", "day", "week", "month"]

_DAY_S: Final = 86_400.0
_SECONDS: Final = {"hour": 3600.0, "day": _DAY_S, "week": 7 * _DAY_S}
_FIRST_MONDAY_S: Final = 4 * _DAY_S
"""Unix time began on a Thursday; weeks begin on Mondays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Time cut into periods, in UTC.

    Parameters
    ----------
    name
        ``hour``, ``day``, ``week`` (from Monday) or ``month``: as in the calendar.
    seconds
        In place of a name: the length of each period, > 0, counted from 1970-01-01.

    Examples
    --------
    >>> Period(name="day").bounds(86_400.0 + 5)
    (86400.0, 172800.0)
    >>> Period(seconds=10.0).bounds(25.0)
    (20.0, 30.0)
    """

    name: PeriodName | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.name is None) == (self.seconds is None):
            raise InvalidValueError("name, seconds", (self.name, self.seconds), "given exactly one of them")
        if self.name is not None and self.name not in get_args(PeriodName):
            raise InvalidValueError("name", self.name, f"one of {', '.join(get_args(PeriodName))}")
        if self.seconds is not None:
            positive("seconds", self.seconds)

    def __str__(self) -> str:
        return self.name or f"{self.seconds:g} s"

    def bounds(self, time_s: float) -> tuple[float, float]:
        """Return when the period that holds the Unix time `time_s` begins, and when the next one does."""
        if self.name == "month":
            return _month(time_s)
        length_s = _SECONDS[self.name] if self.name is not None else self.seconds
        assert length_s is not None
        first_s = _FIRST_MONDAY_S if self.name == "week" else 0.0
        number = (time_s - first_s) // length_s
        return first_s + number * length_s, first_s + (number + 1) * length_s


def _month(time_s: float) -> tuple[float, float]:
    now = datetime.fromtimestamp(time_s, UTC)
    start = datetime(now.year, now.month, 1, tzinfo=UTC)
    following = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    return start.timestamp(), following.timestamp()
