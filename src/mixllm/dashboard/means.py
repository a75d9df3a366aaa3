"""A mean of a stream of numbers, and how sure it is."""

from __future__ import annotations

import math

from mixllm.types import Value

__all__ = ["Measured", "StreamMean"]

_Z90 = 1.6448536269514722
"""How many standard errors a 90 % interval reaches to each side."""


class Measured(Value, frozen=True, kw_only=True):
    """A mean of what was measured.

    Parameters
    ----------
    mean
        The mean.
    std_error
        Its standard error, the numbers' standard deviation over √n; None where there is one number alone.
    low, high
        Its 90 % interval, by the normal approximation; None where there is no standard error.
    count
        Of how many numbers.
    """

    mean: float
    std_error: float | None
    low: float | None
    high: float | None
    count: int


class StreamMean:
    """Count, mean and spread of a stream of numbers (Welford, 1962).

    Examples
    --------
    >>> quality = StreamMean()
    >>> for value in (0.5, 1.0, 0.75):
    ...     quality.add(value)
    >>> quality.mean, round(quality.measured().std_error, 4)
    (0.75, 0.1443)
    """

    __slots__ = ("count", "mean", "squares")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    def add(self, value: float) -> None:
        """Count a number."""
        self.count += 1
        off = value - self.mean
        self.mean += off / self.count
        self.squares += off * (value - self.mean)

    def absorb(self, other: StreamMean) -> None:
        """Count everything that `other` has counted."""
        count = self.count + other.count
        if not count:
            return
        off = other.mean - self.mean
        self.squares += other.squares + off * off * self.count * other.count / count
        self.mean += off * other.count / count
        self.count = count

    def measured(self) -> Measured | None:
        """Return the mean and how sure it is; None where there is no number."""
        if not self.count:
            return None
        if self.count == 1:
            return Measured(mean=self.mean, std_error=None, low=None, high=None, count=1)
        error = math.sqrt(self.squares / (self.count - 1) / self.count)
        reach = _Z90 * error
        return Measured(
            mean=self.mean, std_error=error, low=self.mean - reach, high=self.mean + reach, count=self.count
        )
