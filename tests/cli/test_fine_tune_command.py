"""``mixllm fine-tune``: from a log and a model to an encoder; what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.running import invoke, refusal
from tests.encoders.small_transformer import domain_texts, write_transformer

from mixllm.assembly import build_encoder
from mixllm.config import EncoderConfig

pytestmark = pytest.mark.xdist_group("torch")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """What a good command has, but for --labels."""
    texts, labels = domain_texts(6)
    ids = [f"q{row}" for row in range(len(texts))]
    (tmp_path / "log").mkdir()
    queries = {"query_id": ids, "prompt": texts, "task": [None, *labels[1:]]}
    outcomes = {"query_id": ids, "model": ["a"] * len(ids), "quality": [1.0] * len(ids), "cost_usd": [0.1] * len(ids)}
    pq.write_table(pa.table(queries), tmp_path / "log" / "queries.parquet")
    pq.write_table(pa.table(outcomes), tmp_path / "log" / "outcomes.parquet")
    model = write_transformer(tmp_path / "model")
    places = ["--data", str(tmp_path / "log"), "--model", str(model), "--out", str(tmp_path / "out")]
    return ["fine-tune", *places, "--epochs", "2", "--batch", "8", "--device", "cpu", "--max-tokens", "20"]


def test_from_a_log_to_an_encoder(arguments: list[str], tmp_path: Path) -> None:
    options = ["--lr", "0.001", "--seed", "3", "--margin", "0.1", "--inter-weight", "2", "--json"]
    result = invoke(*arguments, "--labels", "task", *options)
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["out"] == str(tmp_path / "out")
    assert (said["texts"], said["left_out"], said["resumed_at"], said["device"]) == (17, 1, 0, "cpu")
    assert said["domains"] == ["code", "law", "medicine"]
    assert len(said["losses"]) == 2
    assert said["seconds"] > 0
    encoder = build_encoder(EncoderConfig(kind="transformer", path=said["out"]))
    assert encoder.encode("the court").any()


def test_people_get_two_lines(arguments: list[str], tmp_path: Path) -> None:
    result = invoke(*arguments, "--labels", "task")
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first.startswith("17 queries (1 left out) of 3 domains in ")
    assert second == f"Next: encoder: {{kind: transformer, path: {tmp_path / 'out'}}} in your configuration."


def test_what_is_wrong_is_a_message(arguments: list[str], tmp_path: Path) -> None:
    assert "no column of labels 'tsk'. Did you mean 'task'? It has: task." in refusal(
        invoke(*arguments, "--labels", "tsk")
    )
    absent = [str(tmp_path / "none") if one == str(tmp_path / "model") else one for one in arguments]
    assert "is not a folder" in refusal(invoke(*absent, "--labels", "task"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    assert "holds mine" in refusal(invoke(*arguments, "--labels", "task"))


@pytest.mark.parametrize("wrong", [["--batch", "1"], ["--lr", "0"], ["--margin", "2"], ["--epochs", "0"], []])
def test_wrong_usage_ends_with_2(wrong: list[str]) -> None:
    assert invoke("fine-tune", "--data", "x", *wrong).exit_code == 2
