"""``/v1/state``: back to an earlier checkpoint while the gateway serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.running import Gateway, config_for

from mixllm.playback import PlaybackServer


@pytest.fixture
def taught(pool: PlaybackServer, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway whose first judgements were good and kept, and whose later ones were poison."""
    with Gateway(config_for(pool, tmp_path / "m.db", encoder={"kind": "hashing"})) as gateway:
        judge(gateway, 6, value=0.9)
        gateway.router.worker.checkpoint()
        judge(gateway, 6, value=0.0)
        yield gateway


def judge(gateway: Gateway, count: int, *, value: float) -> None:
    for number in range(count):
        reply = gateway.chat("atlas-large", text=f"question {number}")
        assert gateway.judge(reply.inference_id, value=value).status == 200
    gateway.router.learn()


def expected(gateway: Gateway) -> float:
    """Return the quality that is expected of the LLM that was judged."""
    decision = gateway.ask("POST", "/v1/route", {"messages": [{"role": "user", "content": "question 1"}]}).json
    (found,) = [one for one in decision["candidates"] if one["llm"] == "atlas-large"]
    quality: float = found["forecast"]["quality"]["mean"]
    return quality


def states(gateway: Gateway) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = gateway.ask("GET", "/v1/state").json["states"]
    return listed


def test_the_next_decision_is_made_from_the_earlier_state(taught: Gateway) -> None:
    poisoned = expected(taught)
    (good,) = states(taught)
    current = taught.ask("GET", "/v1/state").json["current"]
    reply = taught.ask("POST", "/v1/state/rollback", {})
    assert reply.status == 200
    assert reply.json["source"] == good["version"]
    assert reply.json["version"] > current["version"]
    assert expected(taught) > poisoned
    assert taught.ask("GET", "/v1/state").json["current"]["version"] >= reply.json["version"]
    assert [info["quarantined"] is None for info in states(taught)] == [True, False, True]


def test_relearning_brings_the_later_events_back(taught: Gateway) -> None:
    poisoned = expected(taught)
    (good,) = states(taught)
    reply = taught.ask("POST", "/v1/state/rollback", {"version": good["version"], "relearn": True})
    assert (reply.status, reply.json["position"]) == (200, good["position"])
    assert expected(taught) == pytest.approx(poisoned, abs=1e-6)


def test_released_it_can_be_returned_to(taught: Gateway) -> None:
    poisoned = expected(taught)
    aside = taught.ask("POST", "/v1/state/rollback", {}).json["quarantined"][0]
    refused = taught.ask("POST", "/v1/state/rollback", {"version": aside})
    assert (refused.status, refused.error["code"]) == (409, "no_such_state")
    assert "is in quarantine" in refused.error["message"]
    assert taught.ask("POST", "/v1/state/release", {"version": aside}).json == {"version": aside, "released": True}
    assert taught.ask("POST", "/v1/state/rollback", {"version": aside}).status == 200
    assert expected(taught) == pytest.approx(poisoned, abs=1e-6)


def test_a_state_tells_what_it_knows(taught: Gateway) -> None:
    (good,) = states(taught)
    details = taught.ask("GET", f"/v1/state/{good['version']}").json
    assert details["info"] == good
    known = {one["llm"]: one["judgements"] for one in details["llms"]}
    assert known["atlas-large"] == 6
    assert sum(known.values()) == 6


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/state/rollback", {"version": 999_999}, 409),
        ("POST", "/v1/state/rollback", {"versoin": 1}, 400),
        ("POST", "/v1/state/rollback", {"version": "1"}, 400),
        ("POST", "/v1/state/release", {"version": 999_999}, 404),
        ("POST", "/v1/state/release", {}, 400),
        ("GET", "/v1/state/999999", None, 404),
        ("GET", "/v1/state/one", None, 404),
    ],
)
def test_what_cannot_be_done_is_said(gateway: Gateway, method: str, path: str, body: Any, status: int) -> None:
    reply = gateway.ask(method, path, body)
    assert reply.status == status
    assert reply.error["message"]
