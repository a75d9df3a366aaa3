"""The load test as a user runs it, on a small log that is written first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.cli.running import invoke, output_of, refusal

from mixllm.logs import write_log
from mixllm.playback import synthetic_log

LLM = synthetic_log(queries=1).llms[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "small"
    write_log(synthetic_log(queries=200, seed=5), path)
    return path


def options(folder: Path) -> list[str]:
    return [
        *("load", "--data", str(folder), "--routers", "mixllm,zero", "--trade-offs", "1.4"),
        *("--duration", "8", "--loads", "0.5,1.5", "--first-seed", "3"),
    ]


def test_from_a_log_to_a_table_results_and_figures(folder: Path, tmp_path: Path) -> None:
    done = invoke(*options(folder), "--out", str(tmp_path))
    assert done.exit_code == 0, done.stderr
    assert "times real time" in done.stdout
    names = {f"load-{name}.{kind}" for name in ("frontier", "wait", "shares", "deadline") for kind in ("svg", "png")}
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", *names}
    found = json.loads((tmp_path / "results.json").read_text())
    assert [level["load"] for level in found["levels"]] == [None, 0.5, 1.5]
    unhurried, half, over = found["levels"]
    assert half["rate_per_s"] == pytest.approx(0.5 * found["capacity_per_s"])
    for router, loaded in unhurried["routers"].items():
        assert [point["trade_off"] for point in loaded["points"]] == [1.4], router
        assert all(point["missed"]["mean"] == point["shed"]["mean"] == 0 for point in loaded["points"]), router
    for loaded in over["routers"].values():
        for point in loaded["points"]:
            assert sum(point["shares"].values()) + point["shed"]["mean"] == pytest.approx(1.0, abs=1e-3)
    again = output_of(*options(folder))
    assert again["levels"] == found["levels"]


def test_troubles_and_arrivals(folder: Path) -> None:
    found = output_of(
        *("load", "--data", str(folder), "--routers", f"single:{LLM},zero", "--trade-offs", "2", "--duration", "60"),
        *("--arrivals", "bursts", "--outage", f"{LLM}:0:60", "--surge", "10:20:2", "--slow", f"{LLM}:5:10:10"),
        *("--servers", "1", "--queue", "1", "--deadline", "5", "--rpm", "600", "--tpm", "1000000"),
    )
    assert (found["arrivals"], found["servers"], found["deadline_s"]) == ("bursts", 1, 5.0)
    routers = found["levels"][1]["routers"]
    assert routers[f"single:{LLM}"]["points"][0]["shed"]["mean"] == 1.0
    assert routers[f"single:{LLM}"]["points"][0]["longest_queue"] <= 1


def test_a_log_without_latencies_wants_measurements(tmp_path: Path) -> None:
    log = synthetic_log(queries=40, seed=5)
    write_log(replace(log, latency_s=np.full(log.quality.shape, np.nan)), tmp_path / "silent")
    said = refusal(invoke("load", "--data", str(tmp_path / "silent"), "--routers", "zero"))
    assert "--speeds FILE" in " ".join(said.split())


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--routers", "oracel"], "names out of"),
        (["--reference", "gpt-99"], "no LLM named 'gpt-99'"),
        (["--loads", "0"], "loads"),
        (["--slow", "nobody:1:2:10", "--routers", "zero"], "nobody"),
        (["--arrivals", "trace", "--routers", "zero"], "trace_s"),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, extra: list[str], words: str) -> None:
    result = invoke("load", "--data", str(folder), "--duration", "5", *extra)
    assert words in " ".join(refusal(result).split())


def test_wrong_usage(folder: Path) -> None:
    assert "--data" in refusal(invoke("load"), code=2)
    for option, value in (("--loads", "half"), ("--surge", "1:2"), ("--slow", "a:1:2"), ("--outage", "a:b:c")):
        assert option in refusal(invoke("load", "--data", str(folder), option, value), code=2)
