"""Commands on a store in a PostgreSQL database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.running import invoke
from tests.postgres_server import Server

from mixllm.assembly import Router
from mixllm.config import parse_config
from mixllm.types import Outcome

FILE = """\
model_list:
- model_name: small
  litellm_params: {model: openai/s, api_base: 'http://127.0.0.1:9/v1', api_key: os.environ/NO_SUCH_KEY}
  model_info: {input_cost_per_token: 1e-7, output_cost_per_token: 1e-7}
- model_name: large
  litellm_params: {model: openai/l, api_base: 'http://127.0.0.1:9/v1', api_key: os.environ/NO_SUCH_KEY}
  model_info: {input_cost_per_token: 1e-5, output_cost_per_token: 1e-5}
encoder: {kind: hashing}
gateway: {port: 0}
"""


@pytest.fixture
def config_path(postgres: Server, tmp_path: Path) -> Path:
    store = {"url": postgres.url, "schema": postgres.schema(), "spool": str(tmp_path / "spool")}
    path = tmp_path / "gateway.yaml"
    path.write_text(f"{FILE}store: {json.dumps(store)}\n")
    with Router.from_config(parse_config(path.read_text()), seed=1) as router:
        for number in range(20):
            decision = router.route(f"question {number}")
            router.record(decision.decision_id, Outcome(tokens_in=5, tokens_out=9, latency_s=1.0))
            router.feedback(decision.decision_id, quality=number / 20)
    return path


def test_doctor_looks_at_the_database_and_the_spool(config_path: Path) -> None:
    arguments = ("doctor", "-c", str(config_path), "--url", "http://127.0.0.1:9", "--timeout-s", "0.5", "--json")
    found = {one["check"]: one for one in json.loads(invoke(*arguments).stdout)["checks"]}
    assert found["store"]["status"] == "ok"
    assert "20 decisions, 20 outcomes, 20 feedback" in found["store"]["detail"]
    assert "0 events after it" in found["checkpoint"]["detail"]
    assert "nothing waits" in found["spool"]["detail"]


def test_doctor_says_where_the_database_is_away(config_path: Path, tmp_path: Path) -> None:
    away = tmp_path / "away.yaml"
    away.write_text(f"{FILE}store: {{url: 'postgresql://me:very-secret@127.0.0.1:9/x'}}\n")
    done = invoke("doctor", "-c", str(away), "--url", "http://127.0.0.1:9", "--timeout-s", "0.5", "--json")
    found = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    assert (found["store"]["status"], done.exit_code) == ("fail", 1)
    assert "cannot be reached" in found["store"]["detail"]
    assert "very-secret" not in done.stdout


def test_state_and_export_read_it(config_path: Path, tmp_path: Path) -> None:
    states = json.loads(invoke("state", "list", "-c", str(config_path), "--json").stdout)
    assert states
    out = tmp_path / "exported"
    exported = json.loads(invoke("data", "export", "-c", str(config_path), "--out", str(out), "--json").stdout)
    assert (exported["decisions"], exported["outcomes"], exported["judged"]) == (20, 20, 20)
    assert exported["store"].startswith("postgresql://")
