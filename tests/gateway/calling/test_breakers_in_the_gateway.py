"""LLMs that keep failing are left alone, visibly, and tried again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.gateway.calling.ranking import RANKED, calls_of, metric, ranked_config
from tests.gateway.running import Gateway, eventually

from mixllm.playback import ErrorStatus, PlaybackServer

POOL = (RANKED[0], RANKED[2])


@pytest.fixture
def breaking(playback: PlaybackServer, tmp_path: Path) -> Iterator[Gateway]:
    calls = {"breaker": {"failures": 3, "open_s": 0.3, "max_open_s": 0.6}, "retry_delay_s": 0.01}
    with Gateway(ranked_config(playback, tmp_path / "m.db", POOL, calls=calls)) as running:
        yield running


def test_a_failing_llm_is_left_alone_shown_and_tried_again(breaking: Gateway, playback: PlaybackServer) -> None:
    best, second = POOL
    playback.put_faults(best, ErrorStatus(status=500))

    attempts = [breaking.chat().headers["x-mixllm-attempts"] for _ in range(4)]

    assert attempts == ["2", "2", "2", "1"]
    breaker = breaking.ask("GET", f"/v1/llms/{best}").json["breaker"]
    assert (breaker["state"], breaker["failures"], breaker["opened"]) == ("open", 3, 1)
    assert 0 < breaker["retry_in_s"] <= 0.3
    assert metric(breaking, f'mixllm_breaker_state{{llm="{best}",state="open"}}') == 1
    assert metric(breaking, f'mixllm_breaker_opened_total{{llm="{best}"}}') == 1
    ready = breaking.ask("GET", "/health/ready")
    assert (ready.status, ready.json["status"]) == (200, "degraded")
    assert ready.json["breakers"][best]["state"] == "open"
    assert any(best in warning for warning in ready.json["warnings"])
    decided = breaking.ask("POST", "/v1/route", {"messages": [{"role": "user", "content": "hi"}]}).json
    assert [one["llm"] for one in decided["candidates"]] == [second]
    assert "keeps failing" in decided["ineligible"][0]["reason"]

    playback.put_faults(best)
    assert eventually(lambda: breaking.chat().headers["x-mixllm-model"] == best)
    assert breaking.ask("GET", f"/v1/llms/{best}").json["breaker"]["state"] == "closed"


def test_where_all_fail_they_are_still_tried(breaking: Gateway, playback: PlaybackServer) -> None:
    for llm in POOL:
        playback.put_faults(llm, ErrorStatus(status=500))
    for _ in range(3):
        breaking.chat()
    assert {breaking.router.breakers.status(llm).state for llm in POOL} == {"open"}
    for llm in POOL:
        playback.put_faults(llm)

    reply = breaking.chat()

    assert reply.status == 200
    assert "every LLM that could take it fails at present" in reply.headers["x-mixllm-reason"]
    assert breaking.router.breakers.status(reply.headers["x-mixllm-model"]).state == "closed"


def test_where_the_candidates_fail_those_that_were_left_alone_are_asked(
    playback: PlaybackServer, tmp_path: Path
) -> None:
    best, second = POOL
    calls = {"breaker": {"failures": 3, "open_s": 600, "max_open_s": 600}, "retry_delay_s": 0.01}
    with Gateway(ranked_config(playback, tmp_path / "m.db", POOL, calls=calls)) as gateway:
        playback.put_faults(best, ErrorStatus(status=500))
        for _ in range(3):
            assert gateway.chat().headers["x-mixllm-model"] == second
        assert gateway.router.breakers.status(best).state == "open"
        playback.put_faults(best)
        playback.put_faults(second, ErrorStatus(status=500))

        hurried = gateway.chat(mixllm={"max_latency_s": 1000})
        reply = gateway.chat()

        assert hurried.status == 502, "nobody knows whether it would be in time"
        assert reply.status == 200
        assert calls_of(gateway, reply) == [(second, "error", 0), (best, "ok", 1)]
        assert gateway.in_flight() == 0


@pytest.mark.parametrize("status", [400, 429])
def test_neither_faults_of_requests_nor_rate_limits_open_it(
    breaking: Gateway, playback: PlaybackServer, status: int
) -> None:
    playback.put_faults("ember-mini", ErrorStatus(status=status, retry_after_s=60))
    for _ in range(5):
        breaking.chat("ember-mini")
    assert breaking.router.breakers.status("ember-mini").state == "closed"


def test_an_llm_with_another_endpoint_begins_anew(breaking: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults("ember-mini", ErrorStatus(status=500))
    for _ in range(3):
        breaking.chat("ember-mini")
    assert breaking.router.breakers.status("ember-mini").state == "open"

    reply = breaking.ask("PATCH", "/v1/llms/ember-mini", {"api_base": playback.base_url + "/"})

    assert reply.status == 200
    assert breaking.router.breakers.status("ember-mini").state == "closed"
