"""The benchmark as a user runs it, on a small log that is written first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.running import invoke, output_of, refusal, run

from mixllm.logs import write_log
from mixllm.playback import synthetic_log

ROUTERS = "oracle,knn,zero,carrot,cheapest,single:atlas-large"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "small"
    write_log(synthetic_log(queries=120, seed=5), path)
    return path


def test_from_a_log_to_results_tables_and_figures(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("bench", "--data", str(folder), "--splits", "2", "--out", str(out), "--routers", ROUTERS)
    assert done.returncode == 0, done.stderr
    assert "oracle" in done.stdout
    assert "cost at 97.25" in done.stdout
    files = {path.name for path in out.iterdir()}
    assert files == {"results.json", "results.md", "journal.jsonl", "frontier-small.svg", "frontier-small.png"}
    found = json.loads((out / "results.json").read_text())["datasets"]["small"]
    assert set(found["routers"]) == set(ROUTERS.split(","))
    assert found["label"] == "domain"


def test_json_is_the_file_and_a_second_run_takes_up_the_first(folder: Path, tmp_path: Path) -> None:
    options = ["bench", "--data", str(folder), "--splits", "2", "--out", str(tmp_path), "--routers", "zero,random"]
    first = output_of(*options)
    assert first == json.loads((tmp_path / "results.json").read_text())
    lines = (tmp_path / "journal.jsonl").read_bytes().split()
    assert output_of(*options) == first
    assert (tmp_path / "journal.jsonl").read_bytes().split() == lines


def test_reference_label_and_domains_can_be_chosen(folder: Path, tmp_path: Path) -> None:
    log = synthetic_log(queries=120, seed=5)
    found = output_of(
        *("bench", "--data", str(folder), "--out", str(tmp_path), "--routers", "zero", "--label", "domain"),
        *("--reference", log.llms[1], "--splits", "1"),
    )["datasets"]["small"]
    assert (found["reference"], found["splits"]) == (log.llms[1], 1)
    assert found["routers"]["zero"]["max_quality"]["se"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--routers", "nearest"], "routers must be"),
        (["--routers", ""], "one name or more"),
        (["--label", "domian"], "Did you mean 'domain'"),
        (["--reference", "gpt-99"], "No log has an LLM named 'gpt-99'"),
        (["--by-domain", "--routers", "zero", "--label", "domain"], "fewer than two values"),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, tmp_path: Path, options: list[str], words: str) -> None:
    result = invoke("bench", "--data", str(folder), "--out", str(tmp_path), *options)
    assert words in " ".join(refusal(result).split())


def test_wrong_usage(tmp_path: Path) -> None:
    assert "--data" in refusal(invoke("bench"), code=2)
    assert "--splits" in refusal(invoke("bench", "--data", str(tmp_path), "--splits", "0"), code=2)
    assert "parquet" in refusal(invoke("bench", "--data", str(tmp_path), "--json", "--out", str(tmp_path / "out")))
