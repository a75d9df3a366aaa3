"""When the demo's queries come."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixllm.demo.arrivals import planned_arrivals
from mixllm.demo.settings import DemoSettings


def _say_nothing(text: str) -> None:
    pytest.fail(text)


def _write_trace(file: Path, gaps_s: list[float]) -> None:
    start = datetime(2023, 11, 16, 18, 15, 46, 680590)  # noqa: DTZ001 -- traces tell no zone
    times = [start + timedelta(seconds=float(at)) for at in np.cumsum([0.0, *gaps_s])]
    file.parent.mkdir(parents=True, exist_ok=True)
    stamps = [f"{time:%Y-%m-%d %H:%M:%S.%f}0" for time in times]
    pq.write_table(pa.table({"TIMESTAMP": stamps}), file)


def test_closed_arrivals_have_no_plan() -> None:
    assert planned_arrivals(DemoSettings(), say=_say_nothing) is None


def test_a_trace_beside_the_data_gives_its_own_rate(tmp_path: Path) -> None:
    _write_trace(tmp_path / "traces" / "azure_llm_2023_conv.parquet", [0.1, 0.4] * 200)
    (tmp_path / "log").mkdir()
    times_s = planned_arrivals(DemoSettings(data=tmp_path / "log", arrivals="trace", duration_s=50.0), say=_say_nothing)
    assert times_s is not None
    assert len(times_s) == pytest.approx(200, abs=2)
    assert times_s.max() < 50.0
    assert np.diff(times_s).min() == pytest.approx(0.1, rel=0.02), "its gaps, not just its rate"


def test_a_trace_can_be_sped_up(tmp_path: Path) -> None:
    _write_trace(tmp_path / "mine.parquet", [0.5] * 100)
    settings = DemoSettings(arrivals="trace", trace=tmp_path / "mine.parquet", rate_per_s=20.0, duration_s=10.0)
    times_s = planned_arrivals(settings, say=_say_nothing)
    assert times_s is not None
    assert len(times_s) == pytest.approx(200, abs=2)


def test_without_a_trace_queries_come_in_bursts_and_it_is_said() -> None:
    said: list[str] = []
    times_s = planned_arrivals(DemoSettings(arrivals="trace", duration_s=400.0), say=said.append)
    assert times_s is not None
    assert len(times_s) == pytest.approx(2000, rel=0.4)
    assert "--trace" in said[0]


def test_the_same_seed_gives_the_same_arrivals() -> None:
    settings = DemoSettings(arrivals="poisson", duration_s=20.0, seed=4)
    first, again = planned_arrivals(settings, say=_say_nothing), planned_arrivals(settings, say=_say_nothing)
    assert first is not None
    assert again is not None
    assert first.tolist() == again.tolist()
