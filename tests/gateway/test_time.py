"""Waiting, refusals and bursts, as clients of the gateway see them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.gateway.running import Gateway, Reply, chat_body, config_for, config_tree

from mixllm.config import parse_config
from mixllm.playback import ErrorStatus, Hang, PlaybackServer

PAIR = ["atlas-large", "ember-mini"]


@pytest.fixture
def pair(playback: PlaybackServer, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway over two LLMs of its own."""
    with Gateway(config_for(playback, tmp_path / "m.db", PAIR)) as running:
        yield running


def test_an_llm_that_refuses_is_left_alone_and_a_busy_pool_says_so(pair: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults("atlas-large", ErrorStatus(status=429, retry_after_s=30, limit=1))
    assert pair.chat("atlas-large").status == 429
    assert {pair.chat(text=f"question {number}").json["model"] for number in range(8)} == {"ember-mini"}

    playback.put_faults("ember-mini", ErrorStatus(status=503, retry_after_s=20, limit=1))
    assert pair.chat("ember-mini").status == 502
    for model in ("mixllm/auto", "ember-mini"):
        busy = pair.chat(model)
        assert busy.status == 429
        assert (busy.error["code"], busy.error["type"]) == ("pool_busy", "rate_limit_error")
        assert 19 <= int(busy.headers["retry-after"]) <= 20
        assert "ember-mini: its endpoint refused and asked to wait" in busy.error["message"]
        assert "Try again in" in busy.error["message"]

    shown = {status["spec"]["name"]: status for status in pair.ask("GET", "/v1/llms").json["llms"]}
    assert 29 < shown["atlas-large"]["refused_s"] <= 30
    assert 29 < shown["atlas-large"]["wait_s"] <= 30
    metrics = pair.ask("GET", "/metrics").body.decode()
    assert 'mixllm_refusals_total{llm="ember-mini"} 1.0' in metrics
    assert "mixllm_shed_total 2.0" in metrics
    assert "mixllm_workers 1.0" in metrics
    cooldown = next(
        line for line in metrics.splitlines() if line.startswith('mixllm_cooldown_seconds{llm="ember-mini"')
    )
    assert 18 < float(cooldown.split()[-1]) <= 20


@pytest.mark.parametrize("status", [500, 503])
def test_a_fault_is_no_refusal(pair: Gateway, playback: PlaybackServer, status: int) -> None:
    playback.put_faults("atlas-large", ErrorStatus(status=status))
    assert pair.chat("atlas-large").status == 502
    playback.put_faults("atlas-large")
    assert pair.chat("atlas-large").status == 200
    assert pair.router.traffic.refused_s() == {}


def test_a_deadline_that_nobody_can_meet_is_the_requests_own_fault(pair: Gateway) -> None:
    late = pair.chat(mixllm={"max_latency_s": 1e-6})
    assert (late.status, late.error["code"]) == (422, "no_eligible_llm")
    assert "latency of up to" in late.error["message"]


def test_rate_limits_of_the_configuration_hold_at_the_gateway(pool: PlaybackServer, tmp_path: Path) -> None:
    tree = config_tree(pool, tmp_path / "m.db", PAIR)
    for entry in tree["model_list"]:
        entry["litellm_params"]["rpm"] = 2
    with Gateway(parse_config(json.dumps(tree))) as running:
        replies = [running.chat(text=f"question {number}") for number in range(6)]
    assert [reply.status for reply in replies] == [200] * 4 + [429] * 2
    assert Counter(reply.json["model"] for reply in replies[:4]) == dict.fromkeys(PAIR, 2)
    assert 55 <= int(replies[-1].headers["retry-after"]) <= 61


def test_a_burst_spreads_and_is_shed_where_queues_are_full(playback: PlaybackServer, tmp_path: Path) -> None:
    llms = [spec.name for spec in playback.llm_specs()][:3]
    routing = {"policy": {"name": "greedy"}, "max_wait_s": 2.0, "deadline_s": 3.0}
    tree = config_tree(playback, tmp_path / "m.db", llms, routing=routing)
    for entry in tree["model_list"]:
        entry["litellm_params"]["max_parallel_requests"] = 8
        playback.put_faults(entry["model_name"], Hang(for_s=3.0))
    with Gateway(parse_config(json.dumps(tree))) as running:

        def send(number: int) -> Reply:
            return running.ask("POST", "/v1/chat/completions", chat_body(text=f"question {number}"))

        with ThreadPoolExecutor(100) as threads:
            replies = list(threads.map(send, range(100)))
        answers = [reply for reply in replies if reply.status == 200]
        decisions = [running.router.decision(reply.inference_id).decision for reply in answers]
    assert {reply.error["code"] for reply in replies if reply.status != 200} == {"pool_busy"}
    assert {decision.llm for decision in decisions} == set(llms)
    # Each saw those before it: nobody was sent where the wait was expected to be longer than allowed.
    assert max(decision.chosen.forecast.wait_s for decision in decisions) <= 2.0
    under_way = Counter((decision.llm, decision.in_flight) for decision in decisions)
    assert set(under_way.values()) == {1}
