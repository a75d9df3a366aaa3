"""When queries arrive: as in the paper, at random, in bursts, or as in a trace of real traffic."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, LogError
from mixllm.evaluation.extra import bench_extra
from mixllm.types import Value
from mixllm.units import positive

__all__ = ["ArrivalKind", "Surge", "arrival_times", "read_trace"]

ArrivalKind = Literal["paper", "poisson", "bursts", "trace"]

PAPER_WINDOW_S = 10.0
"""The paper lets 100 queries arrive in each window of ten seconds."""

_BURST_FACTOR = 4.0
_BURST_SHARE = 0.1
_BURST_S = 5.0
_SECONDS = "%Y-%m-%d %H:%M:%S"


class Surge(Value, frozen=True, kw_only=True):
    """A time at which queries arrive faster, or slower, than usual.

    Parameters
    ----------
    from_s, until_s
        When, in seconds from the start.
    factor
        How many times the usual rate.
    """

    from_s: float
    until_s: float
    factor: float

    def __post_init__(self) -> None:
        positive("factor", self.factor)
        if not 0 <= self.from_s < self.until_s:
            raise InvalidValueError("until_s", self.until_s, f"above from_s ({self.from_s}), which is >= 0")


def arrival_times(
    kind: ArrivalKind,
    *,
    rate_per_s: float,
    duration_s: float,
    rng: np.random.Generator,
    surge: Surge | None = None,
    trace_s: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the times of all arrivals within [0, duration_s), rising.

    Parameters
    ----------
    kind
        ``paper``: in each window of ten seconds a fixed number, spread evenly at random. ``poisson``. ``bursts``:
        Poisson, at four times the mean rate for a tenth of the time, in bursts of about five seconds, and at two thirds
        of it else. ``trace``: real arrivals, sped up or slowed down to the rate, from a random place on.
    rate_per_s
        Mean rate of arrivals, > 0.
    duration_s
        Length of the stream, > 0.
    rng
        Source of randomness.
    surge
        A time of another rate: there, the stream runs faster by its factor.
    trace_s
        Times of a trace, as `read_trace` returns them; needed for ``trace`` alone.

    Examples
    --------
    >>> times = arrival_times("paper", rate_per_s=10.0, duration_s=30.0, rng=np.random.default_rng(0))
    >>> np.histogram(times, bins=[0, 10, 20, 30])[0].tolist()
    [100, 100, 100]
    """
    positive("rate_per_s", rate_per_s)
    positive("duration_s", duration_s)
    # Everything is drawn in a time of constant rate, which a surge then compresses.
    corners = [0.0, duration_s] if surge is None else [0.0, surge.from_s, surge.until_s, duration_s]
    speeds = [1.0] if surge is None else [1.0, surge.factor, 1.0]
    corners = np.minimum(np.maximum.accumulate(corners), duration_s).tolist()
    steady = np.concatenate([[0.0], np.cumsum(np.diff(corners) * speeds)])
    span_s = float(steady[-1])
    if kind == "paper":
        times = _windows(rate_per_s, span_s, rng)
    elif kind == "poisson":
        times = _poisson(rate_per_s, span_s, rng)
    elif kind == "bursts":
        times = _bursts(rate_per_s, span_s, rng)
    elif kind == "trace":
        if trace_s is None:
            raise InvalidValueError("trace_s", trace_s, "the times of a trace, where arrivals follow one")
        times = _traced(trace_s, rate_per_s, span_s, rng)
    else:
        raise InvalidValueError("kind", kind, "'paper', 'poisson', 'bursts' or 'trace'")
    return np.asarray(np.interp(times, steady, corners), np.float64)


def read_trace(file: Path) -> NDArray[np.float64]:
    """Return the seconds from a trace's first arrival to each one, rising, shape (n,).

    Parameters
    ----------
    file
        Parquet with a column ``TIMESTAMP``, as the Azure LLM inference traces have it (seconds with seven decimals).

    Raises
    ------
    LogError
        Where it cannot be read, or has fewer than two arrivals.
    MissingExtraError
        Where pyarrow is not installed.
    """
    with bench_extra("Reading a trace"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        stamps = pq.read_table(file, columns=["TIMESTAMP"]).column(0).to_pylist()
        times = np.sort([_seconds(stamp) for stamp in stamps])
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise LogError(f"{file}: no trace ({error}). Give a parquet file with a column TIMESTAMP.") from error
    if times.size < 2 or times[-1] <= times[0]:
        raise LogError(f"{file}: fewer than two arrivals. Give a longer trace.")
    return np.asarray(times - times[0], np.float64)


def _seconds(stamp: object) -> float:
    # Seven decimals are one more than Python's own parser takes.
    text = str(stamp)
    whole, _, part = text.partition(".")
    return datetime.strptime(whole, _SECONDS).replace(tzinfo=UTC).timestamp() + (float(f"0.{part}") if part else 0.0)


def _windows(rate_per_s: float, span_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    starts = np.arange(0.0, span_s, PAPER_WINDOW_S)
    count = round(rate_per_s * PAPER_WINDOW_S)
    times = np.sort((starts[:, None] + PAPER_WINDOW_S * rng.random((starts.size, max(1, count)))).ravel())
    return times[times < span_s]


def _poisson(rate_per_s: float, span_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.sort(rng.uniform(0.0, span_s, size=rng.poisson(rate_per_s * span_s)))


def _bursts(rate_per_s: float, span_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    quiet_s = _BURST_S * (1.0 - _BURST_SHARE) / _BURST_SHARE
    quiet_factor = (1.0 - _BURST_SHARE * _BURST_FACTOR) / (1.0 - _BURST_SHARE)
    parts: list[NDArray[np.float64]] = []
    now_s, burst = 0.0, bool(rng.random() < _BURST_SHARE)
    while now_s < span_s:
        length_s = float(rng.exponential(_BURST_S if burst else quiet_s))
        rate = rate_per_s * (_BURST_FACTOR if burst else quiet_factor)
        parts.append(now_s + _poisson(rate, length_s, rng))
        now_s, burst = now_s + length_s, not burst
    times = np.concatenate(parts)
    return np.asarray(times[times < span_s], np.float64)


def _traced(
    trace_s: NDArray[np.float64], rate_per_s: float, span_s: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    n = trace_s.size
    # After its last arrival the trace begins again, a mean gap later.
    period_s = float(trace_s[-1] - trace_s[0]) * n / (n - 1)
    scaled = (trace_s - trace_s[0]) * (n / rate_per_s / period_s)
    cycle_s = n / rate_per_s
    offset_s = float(rng.uniform(0.0, cycle_s))
    rounds = np.arange(int(np.ceil((span_s + cycle_s) / cycle_s)) + 1)
    times = (rounds[:, None] * cycle_s + scaled).ravel() - offset_s
    return np.asarray(times[(times >= 0) & (times < span_s)], np.float64)
