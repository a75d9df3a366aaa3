"""How many requests are still to come: a rate for each hour of the day, learned as they come."""

from __future__ import annotations

from mixllm.units import positive

__all__ = ["Arrivals"]

_BINS = 24
_BIN_S = 3600.0
_DAY_S = _BINS * _BIN_S
_DOUBT_S = 600.0
_LONGEST_GAP_S = 3 * _DAY_S


class Arrivals:
    """Expected number of arrivals, from those that were seen.

    Parameters
    ----------
    start_s
        Unix time at which watching begins.
    memory_s
        For each hour of the day, that much of the newest time counts, > 0.
    settle_s
        So much time without an arrival is thought to lie before `start_s`, > 0: a burst at the very start is no rate.

    Notes
    -----
    The rate of hour b is (n_b + 600 s · r̄) / (t_b + 600 s), with n_b arrivals in t_b seconds of watching it and
    r̄ = Σn_b / (Σt_b + `settle_s`): an hour that was never watched has the mean rate. Counts do not start again with a
    period, so what was seen yesterday paces today. Where t_b is above `memory_s`, n_b and t_b shrink together.

    Examples
    --------
    >>> arrivals = Arrivals(start_s=0.0, settle_s=60.0)
    >>> for second in range(0, 7200, 10):
    ...     arrivals.count(float(second))
    >>> round(arrivals.expected(7200.0, 10_800.0), -1)
    360.0
    """

    def __init__(self, *, start_s: float, memory_s: float = 4 * _BIN_S, settle_s: float = 900.0) -> None:
        self.memory_s = positive("memory_s", memory_s)
        self.settle_s = positive("settle_s", settle_s)
        self._watched_until_s = start_s
        self._counts = [0.0] * _BINS
        self._watched_s = [0.0] * _BINS

    def count(self, time_s: float) -> None:
        """Count an arrival at the Unix time `time_s`; one before the last one counts as if it came then."""
        self._watch(time_s)
        self._counts[_bin(self._watched_until_s)] += 1.0

    def expected(self, from_s: float, to_s: float) -> float:
        """Return how many arrivals are expected between two Unix times; 0 where nothing has been watched."""
        mean = sum(self._counts) / (sum(self._watched_s) + self.settle_s)
        if mean == 0 or to_s <= from_s:
            return 0.0
        rates = [
            (count + _DOUBT_S * mean) / (seconds + _DOUBT_S)
            for count, seconds in zip(self._counts, self._watched_s, strict=True)
        ]
        days = (to_s - from_s) // _DAY_S
        expected = days * _BIN_S * sum(rates)
        at_s = from_s + days * _DAY_S
        while at_s < to_s:
            until_s = min(_next_bin(at_s), to_s)
            expected += rates[_bin(at_s)] * (until_s - at_s)
            at_s = until_s
        return expected

    def _watch(self, time_s: float) -> None:
        # After a long silence only its end is walked through: it fills every hour's memory.
        at_s = max(self._watched_until_s, time_s - _LONGEST_GAP_S)
        while at_s < time_s:
            until_s = min(_next_bin(at_s), time_s)
            place = _bin(at_s)
            self._watched_s[place] += until_s - at_s
            if self._watched_s[place] > self.memory_s:
                self._counts[place] *= self.memory_s / self._watched_s[place]
                self._watched_s[place] = self.memory_s
            at_s = until_s
        self._watched_until_s = max(self._watched_until_s, time_s)


def _bin(time_s: float) -> int:
    return int(time_s // _BIN_S) % _BINS


def _next_bin(time_s: float) -> float:
    return (time_s // _BIN_S + 1) * _BIN_S
