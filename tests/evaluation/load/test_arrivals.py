"""When queries arrive: rates, windows, bursts, surges, traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.errors import InvalidValueError, LogError
from mixllm.evaluation.load.arrivals import ArrivalKind, Surge, arrival_times, read_trace

TRACE_S = np.cumsum(np.random.default_rng(5).exponential(0.7, size=4000))


def times(
    kind: ArrivalKind, *, rate: float = 10.0, duration: float = 2000.0, seed: int = 1, surge: Surge | None = None
) -> list[float]:
    """Return arrivals as a list."""
    found = arrival_times(
        kind,
        rate_per_s=rate,
        duration_s=duration,
        rng=np.random.default_rng(seed),
        surge=surge,
        trace_s=TRACE_S if kind == "trace" else None,
    )
    return list(found)


@pytest.mark.parametrize("kind", ["paper", "poisson", "bursts", "trace"])
def test_the_rate_is_the_one_asked_for(kind: ArrivalKind) -> None:
    found = times(kind)
    assert len(found) / 2000.0 == pytest.approx(10.0, rel=0.12 if kind == "bursts" else 0.04)


@pytest.mark.parametrize("kind", ["paper", "poisson", "bursts", "trace"])
@given(rate=st.floats(0.1, 20), duration=st.floats(1, 50), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_times_rise_lie_within_the_stream_and_are_the_seeds(
    kind: ArrivalKind, rate: float, duration: float, seed: int
) -> None:
    found = times(kind, rate=rate, duration=duration, seed=seed)
    assert found == sorted(found)
    assert all(0 <= time < duration for time in found)
    assert found == times(kind, rate=rate, duration=duration, seed=seed)


def test_the_papers_windows_hold_a_hundred_queries_each() -> None:
    counts, _ = np.histogram(times("paper", duration=100.0), bins=np.arange(0, 101, 10))
    assert counts.tolist() == [100] * 10


def test_bursts_scatter_more_than_poisson() -> None:
    def dispersion(kind: ArrivalKind) -> float:
        counts, _ = np.histogram(times(kind), bins=np.arange(0, 2001, 5))
        return float(counts.var() / counts.mean())

    assert dispersion("poisson") < 1.3
    assert dispersion("bursts") > 4.0


@pytest.mark.parametrize("kind", ["paper", "poisson", "trace"])
def test_a_surge_is_a_time_of_another_rate(kind: ArrivalKind) -> None:
    found = np.array(times(kind, surge=Surge(from_s=500.0, until_s=1000.0, factor=3.0)))
    inside = ((found >= 500) & (found < 1000)).sum()
    assert inside / 500.0 == pytest.approx(30.0, rel=0.06)
    assert (found.size - inside) / 1500.0 == pytest.approx(10.0, rel=0.06)


def test_a_trace_keeps_its_shape_and_begins_anywhere() -> None:
    first, second = (np.diff(times("trace", rate=1 / 0.7, duration=1000.0, seed=seed)) for seed in (1, 2))
    assert np.mean(first) == pytest.approx(0.7, rel=0.1)
    assert first[0] != second[0]
    pairs = np.diff(TRACE_S)
    scale = TRACE_S[-1] / (TRACE_S.size - 1) / 0.7
    assert np.isclose(first[1] * scale, pairs, rtol=2e-2).any()


def test_a_trace_is_read_with_seven_decimals(tmp_path: Path) -> None:
    file = tmp_path / "trace.parquet"
    stamps = ["2023-11-16 18:15:46.6805900", "2023-11-16 18:15:50.9951690", "2023-11-16 18:15:48"]
    pq.write_table(pa.table({"TIMESTAMP": stamps}), file)
    np.testing.assert_allclose(read_trace(file), [0.0, 1.31941, 4.314579], atol=1e-6)


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.parquet"
    for column, stamps in (("WHEN", ["x", "y"]), ("TIMESTAMP", ["x", "y"]), ("TIMESTAMP", ["2023-11-16 18:15:46"])):
        pq.write_table(pa.table({column: stamps}), file)
        with pytest.raises(LogError, match="Give a"):
            read_trace(file)


def test_bad_values_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="rate_per_s"):
        times("poisson", rate=0.0)
    with pytest.raises(InvalidValueError, match="trace_s"):
        arrival_times("trace", rate_per_s=1.0, duration_s=1.0, rng=np.random.default_rng(0))
    with pytest.raises(InvalidValueError, match="until_s"):
        Surge(from_s=2.0, until_s=1.0, factor=1.0)
