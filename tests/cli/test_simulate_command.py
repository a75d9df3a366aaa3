"""The simulation as a user runs it, on a small log that is written first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.running import invoke, output_of, refusal

from mixllm.logs import write_log
from mixllm.playback import synthetic_log

POLICIES = "mixllm,epsilon-greedy:0.1,oracle"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "small"
    write_log(synthetic_log(queries=60, seed=5), path)
    return path


def test_from_a_log_to_a_table_results_and_figures(folder: Path, tmp_path: Path) -> None:
    options = ["simulate", "--data", str(folder), "--queries", "20", "--seeds", "2", "--policies", POLICIES]
    done = invoke(*options, "--out", str(tmp_path))
    assert done.exit_code == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("oracle")] == ["oracle"]
    assert "mixllm ahead by" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {
        *("simulation.json", "simulation.jsonl", "simulation-reward.svg", "simulation-reward.png"),
        *("simulation-regret.svg", "simulation-regret.png"),
    }
    found = json.loads((tmp_path / "simulation.json").read_text())
    assert set(found["policies"]) == set(POLICIES.split(","))
    lines = (tmp_path / "simulation.jsonl").read_bytes().split()
    assert output_of(*options, "--out", str(tmp_path)) == found
    assert (tmp_path / "simulation.jsonl").read_bytes().split() == lines


def test_order_feedback_delay_schedule_and_trade_off(folder: Path, tmp_path: Path) -> None:
    llm = synthetic_log(queries=1).llms[0]
    schedule = tmp_path / "changes.yaml"
    schedule.write_text(f"changes:\n- {{at: 5, change: remove, llm: {llm}}}\n")
    found = output_of(
        *("simulate", "--data", str(folder), "--seeds", "1", "--first-seed", "7", "--policies", "always-strongest"),
        *("--order", "by-label", "--label", "domain", "--feedback", "binary", "--feedback-delay", "3"),
        *("--schedule", str(schedule), "--trade-off", "2", "--reference", llm),
    )
    assert found["seeds"] == [7]
    assert found["reference"] == llm
    assert found["queries"] == 60
    settings = found["settings"]
    assert (settings["order"], settings["feedback"], settings["feedback_delay"]) == ("by-label", "binary", 3)
    assert settings["trade_off"] == 2
    assert settings["schedule"]["changes"][0]["llm"] == llm
    assert found["policies"]["always-strongest"]["shares"][llm] <= 5 / 60
    assert found["policies"]["always-strongest"]["reward"]["se"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--policies", "oracel"], "Did you mean 'oracle'"),
        (["--policies", ""], "one name or more"),
        (["--label", "domian"], "Did you mean 'domain'"),
        (["--reference", "gpt-99"], "no LLM named 'gpt-99'"),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, options: list[str], words: str) -> None:
    result = invoke("simulate", "--data", str(folder), *options)
    assert words in " ".join(refusal(result).split())


def test_a_schedule_that_does_not_fit(folder: Path, tmp_path: Path) -> None:
    schedule = tmp_path / "changes.yaml"
    schedule.write_text("changes:\n- {at: 5, change: remove, llm: nobody}\n")
    options = ["simulate", "--data", str(folder), "--policies", "random", "--schedule", str(schedule)]
    assert "no such LLM" in refusal(invoke(*options))
    schedule.write_text("changes:\n- {at: 5, change: rename, llm: nobody}\n")
    assert "line 2" in refusal(invoke(*options))


def test_wrong_usage(folder: Path) -> None:
    assert "--data" in refusal(invoke("simulate"), code=2)
    for option, value in (("--seeds", "0"), ("--queries", "2"), ("--order", "alphabet"), ("--feedback-delay", "-1")):
        assert option in refusal(invoke("simulate", "--data", str(folder), option, value), code=2)
