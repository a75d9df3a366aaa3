"""``mixllm report`` on stores of both kinds."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from tests.cli.running import invoke, output_of, refusal, run
from tests.dashboard.decided import decided, judged, keep
from tests.postgres_server import Server

from mixllm.interfaces import Store
from mixllm.store import PostgresStore, SQLiteStore
from mixllm.types import Outcome, OutcomeStatus


def fill(store: Store) -> None:
    """Two decisions of now, one of two days ago."""
    now_s = time.time()
    answer = Outcome(cost_usd=0.001, latency_s=1.0, ttft_s=0.1)
    failed = Outcome(status=OutcomeStatus.TIMEOUT, latency_s=9.0)
    keep(
        store,
        [
            decided("small", answer, at_s=now_s - 2 * 86_400),
            decided("small", answer, at_s=now_s - 60, feedback=[judged(0.8)], key_id="key-a", shadow="large"),
            decided("large", failed, at_s=now_s - 30),
        ],
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    store = SQLiteStore(path=tmp_path / "mixllm.db")
    fill(store)
    store.close()
    return str(tmp_path / "mixllm.db")


def test_a_report_for_programs_while_the_store_is_open_elsewhere(path: str) -> None:
    gateway_s = SQLiteStore(path=path)
    try:
        day, everything = output_of("report", "--store", path), output_of("report", "--store", path, "--since", "all")
        assert gateway_s.counts()["decisions"] == 3
    finally:
        gateway_s.close()
    assert (day["decisions"], everything["decisions"]) == (2, 3)
    assert (day["answered"], day["failed"], day["calls"]["timeout"]) == (1, 1, 1)
    assert day["to_s"] - day["from_s"] == pytest.approx(86_400)
    assert day["savings"]["reference"] == "large"
    assert day["savings"]["saved_usd"] == pytest.approx(0.009)
    assert list(day["llms"]) == ["large", "small"]
    assert output_of("report", "--store", path, "--reference", "small")["savings"]["saved_usd"] == pytest.approx(0)


def test_a_report_on_postgres_is_the_same(postgres: Server, path: str, tmp_path: Path) -> None:
    schema = postgres.schema()
    store = PostgresStore(url=postgres.url, schema=schema)
    fill(store)
    store.close()
    config = tmp_path / "m.yaml"
    config.write_text(json.dumps({"store": {"url": postgres.url, "schema": schema}}))
    one, other = output_of("report", "--store", path), output_of("report", "-c", str(config))
    for moving in ("from_s", "to_s", "series"):
        del one[moving], other[moving]
    assert one == other


def test_the_configuration_names_store_reference_and_threshold(path: str, tmp_path: Path) -> None:
    config = tmp_path / "m.yaml"
    routing = {"reference_llm": "small", "out_of_domain": {"threshold": 0.75}}
    config.write_text(yaml.safe_dump({"store": {"path": path}, "routing": routing}))
    said = output_of("report", "-c", str(config))
    assert (said["savings"]["reference"], said["out_of_domain_threshold"]) == ("small", 0.75)


def test_a_report_for_people(path: str) -> None:
    done = run("report", "--store", path, "--since", "1h")
    assert done.returncode == 0, done.stderr
    text = done.stdout
    for expected in (
        "The last 1h of",
        "2 decisions",
        "1 answered, 1 failed",
        "0.800 over the 1 answers that were judged, of 1",
        "against large always",
        "an estimate: what large would have cost is its forecast",
        "shadow bold",
        "key-a",
        "code",
    ):
        assert expected in text, expected
    assert "secret" not in text


def test_an_empty_period_says_what_to_do(path: str) -> None:
    said = invoke("report", "--store", path, "--since", "1s").stdout
    assert "0 decisions" in said
    assert "--since all" in said


def test_wrong_use_is_told(path: str, tmp_path: Path) -> None:
    assert "24h or 7d" in refusal(invoke("report", "--store", path, "--since", "soon"), code=2)
    assert "there is no store" in refusal(invoke("report", "--store", str(tmp_path / "none.db")))
