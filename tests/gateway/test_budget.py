"""Budgets over HTTP: what is refused, shown and measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.gateway.running import Gateway, Reply, ask, chat_body, config_for
from tests.gateway.test_metrics import at, scraped

from mixllm.config import key_name
from mixllm.playback import PlaybackServer
from mixllm.types import Secret

ENVIRON = {"TEAM_A": "sk-team-a", "TEAM_B": "sk-team-b"}
TEAM_A, TEAM_B = (key_name(Secret(key)) for key in ENVIRON.values())
KEYS = {"api_keys": ["os.environ/TEAM_A", "os.environ/TEAM_B"]}


def as_team(gateway: Gateway, team: str, method: str, path: str, body: object = None) -> Reply:
    return ask(gateway.url, method, path, body, {"authorization": f"Bearer {ENVIRON[team]}"})


@pytest.fixture
def teams(playback: PlaybackServer, tmp_path: Path) -> Iterator[Gateway]:
    budget: dict[str, Any] = {
        "usd": 5.0,
        "each_key_usd": 3.0,
        "period_s": 1e9,
        "keys": [{"key": "os.environ/TEAM_A", "usd": 1e-7}],
    }
    config = config_for(playback, tmp_path / "m.db", gateway=KEYS, budget=budget)
    with Gateway(config, environ=ENVIRON) as running:
        yield running


def test_a_key_that_has_spent_its_budget_is_refused_and_others_are_not(teams: Gateway) -> None:
    refused = as_team(teams, "TEAM_A", "POST", "/v1/chat/completions", chat_body())
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 1e9
    error = refused.json["error"]
    assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert "The budget of this key does not pay for this request" in error["message"]
    assert "sk-team" not in refused.body.decode()
    for path in ("/v1/route", "/v1/chat/completions"):
        assert as_team(teams, "TEAM_A", "POST", path, chat_body("atlas-large")).status == 429, "a named LLM as well"
    answered = as_team(teams, "TEAM_B", "POST", "/v1/chat/completions", chat_body())
    assert answered.status == 200


def test_openais_client_raises_its_rate_limit_error(teams: Gateway) -> None:
    key = ENVIRON["TEAM_A"]
    with (
        openai.OpenAI(base_url=f"{teams.url}/v1", api_key=key, max_retries=0, timeout=20) as client,
        pytest.raises(openai.RateLimitError) as refused,
    ):
        client.chat.completions.create(model="mixllm/auto", messages=[{"role": "user", "content": "hi"}])
    assert refused.value.code == "insufficient_quota"


def test_who_asks_sees_the_total_and_its_own_budget(teams: Gateway) -> None:
    as_team(teams, "TEAM_B", "POST", "/v1/chat/completions", chat_body())
    teams.router.learn()
    said = as_team(teams, "TEAM_B", "GET", "/v1/budget").json
    assert (said["period"], said["when_spent"]) == ("1e+09 s", "refuse")
    assert said["total"]["limit_usd"] == 5.0
    assert said["key"]["limit_usd"] == 3.0
    assert said["key"]["spent_usd"] == said["total"]["spent_usd"] > 0
    assert said["key"]["remaining_usd"] == pytest.approx(3.0 - said["key"]["spent_usd"])
    other = as_team(teams, "TEAM_A", "GET", "/v1/budget").json
    assert (other["key"]["limit_usd"], other["key"]["spent_usd"]) == (1e-7, 0.0)
    assert ask(teams.url, "GET", "/v1/budget").status == 401


def test_a_gateway_without_budgets_says_so(gateway: Gateway) -> None:
    assert gateway.ask("GET", "/v1/budget").json == {"period": None, "total": None, "key": None}


def test_budgets_and_shadows_are_measured(playback: PlaybackServer, tmp_path: Path) -> None:
    routing = {"shadow": [{"name": "frugal", "lambda": 0.0, "policy": {"name": "greedy"}}], "lambda": 100}
    with Gateway(config_for(playback, tmp_path / "m.db", budget={"usd": 1e-7})) as running:
        assert [running.chat().status for _ in range(3)] == [429] * 3
        assert at(scraped(running), "budget_refused_total", budget="total") == 3
    plenty = config_for(
        playback, tmp_path / "n.db", budget={"usd": 2.0, "period": "month", "each_key_usd": 1.0}, routing=routing
    )
    with Gateway(plenty) as running:
        first = running.chat()
        assert running.chat().status == 200
        samples = scraped(running)
        spent = sum(one["cost_usd"] for reply in (first,) for one in running.outcomes_of(reply.inference_id))
    assert at(samples, "budget_limit_usd", budget="total") == 2.0
    assert at(samples, "budget_spent_usd", budget="total") == at(samples, "budget_period_spent_usd") >= spent > 0
    assert at(samples, "budget_remaining_usd", budget="total") == pytest.approx(
        2.0 - at(samples, "budget_period_spent_usd")
    )
    assert at(samples, "budget_reserved_usd", budget="total") == 0.0
    assert at(samples, "budget_mu", budget="total") == 0.0
    assert at(samples, "budget_lambda_factor", budget="total") == 1.0
    assert at(samples, "budget_out_of_reach", budget="total") == 0.0
    assert at(samples, "budget_refused_total", budget="total") == 0
    counted = [
        at(samples, "shadow_decisions_total", shadow="frugal", result=one) for one in ("agreed", "differed", "failed")
    ]
    assert sum(counted) == 2
    assert at(samples, "shadow_cost_difference_usd", shadow="frugal") <= 0.0
    assert at(samples, "shadow_quality_difference", shadow="frugal") <= 0.0


def test_the_share_of_the_reference_llms_cost_is_measured(playback: PlaybackServer, tmp_path: Path) -> None:
    routing = {"max_cost_share": 0.25, "lambda": 100}
    with Gateway(config_for(playback, tmp_path / "m.db", routing=routing)) as running:
        for _ in range(3):
            assert running.chat().status == 200
        samples = scraped(running)
    assert at(samples, "cost_share_limit") == 0.25
    assert at(samples, "cost_share_spent_usd") > 0.0
    assert at(samples, "cost_share_reference_usd") > 0.0
    assert at(samples, "cost_share_lambda_factor") == pytest.approx(1.0 / (1.0 + at(samples, "cost_share_mu")))
    assert at(samples, "cost_share_out_of_reach") == 0.0
