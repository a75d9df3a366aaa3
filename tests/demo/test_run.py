"""The demo as a user runs it: real processes, real HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from mixllm.logs import write_log
from mixllm.playback import synthetic_log


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mixllm", "demo", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_json_is_one_object_with_the_promised_fields(tmp_path: Path) -> None:
    write_log(synthetic_log(queries=240, seed=5), tmp_path / "log")
    run = _run("--data", str(tmp_path / "log"), "--queries", "150", "--speed", "1000", "--json")
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["queries"] == 150
    assert result["failed"] == 0
    assert 0.5 < result["quality_ratio"] <= 1.2
    assert 0.0 < result["cost_ratio"] < 1.0
    assert set(result["overhead_ms"]) == {"p50", "p99"}
    assert len(result["thirds"]) == 3
    assert sum(llm["share"] for llm in result["per_llm"].values()) == pytest.approx(1.0)
    assert set(next(iter(result["per_llm"].values()))) == {"share", "quality", "cost_usd", "latency_s"}


def test_queries_that_come_in_their_own_time_are_forecast_and_timed() -> None:
    run = _run("--arrivals", "poisson", "--rate", "12", "--seconds", "20", "--speed", "10", "--json")
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["arrivals"] == "poisson"
    assert result["queries"] == pytest.approx(240, rel=0.35)
    assert result["failed"] == 0
    assert 0.0 < result["latency_s"]["p50"] <= result["latency_s"]["p95"] <= result["latency_s"]["p99"]
    assert result["forecasts"]["answers"] == result["queries"] - 100
    assert 0.0 < result["forecasts"]["median_error"] < 2.0
    assert 0.2 < result["forecasts"]["within_90"] <= 1.0  # ten times as fast, the gateway's own time counts ten times


def test_the_table_says_what_was_saved() -> None:
    run = _run("--queries", "120", "--speed", "1000")
    assert run.returncode == 0, run.stderr
    assert "of its cost saved" in " ".join(run.stdout.split())
    assert "last third" in run.stdout


def test_a_folder_without_a_log_is_a_clear_error(tmp_path: Path) -> None:
    run = _run("--data", str(tmp_path), "--json")
    assert run.returncode == 1
    assert "queries.parquet" in run.stderr
    assert "Traceback" not in run.stderr


def test_keep_leaves_a_gateway_whose_curl_line_works() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mixllm", "demo", "--queries", "40", "--speed", "1000", "--keep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("curl "))
        url, body = re.search(r"curl -s (\S+) .* -d '(.*)'", line).groups()  # type: ignore[union-attr]
        request = urllib.request.Request(url, data=body.encode(), headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
            assert json.load(answer)["choices"][0]["message"]["content"]
    finally:
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.stdout is not None
        process.stdout.close()
    assert process.returncode == 0
