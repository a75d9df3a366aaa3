from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.gateway.running import Gateway, config_for

from mixllm.playback import PlaybackServer


def answered(gateway: Gateway, model: str = "atlas-large") -> str:
    """Return the id of a new decision with its answer."""
    return gateway.chat(model).inference_id


def kept(gateway: Gateway, inference_id: str) -> list[dict[str, Any]]:
    feedback: list[dict[str, Any]] = gateway.ask("GET", f"/v1/decisions/{inference_id}").json["feedback"]
    return feedback


@pytest.mark.parametrize(
    ("value", "kind", "number"),
    [(True, "binary", 1.0), (False, "binary", 0.0), (0.75, "refined", 0.75), (1, "refined", 1.0), (0, "refined", 0.0)],
)
def test_a_judgement_is_kept_and_learned_from(gateway: Gateway, value: object, kind: str, number: float) -> None:
    before = gateway.status_of("atlas-large")["judgements"]
    inference_id = answered(gateway)

    reply = gateway.judge(inference_id, value=value)

    assert reply.status == 200
    assert reply.json["inference_id"] == inference_id
    assert reply.json["duplicate"] is False
    (feedback,) = kept(gateway, inference_id)
    assert (feedback["kind"], feedback["value"], feedback["metric"]) == (kind, number, "quality")
    assert gateway.status_of("atlas-large")["judgements"] == before + 1


def test_judgements_move_the_forecast(pool: PlaybackServer, tmp_path: Path) -> None:
    with Gateway(config_for(pool, tmp_path / "m.db", ["fjord-tiny"])) as gateway:
        text = "Prove that the square root of two is irrational."
        before = gateway.ask("POST", "/v1/route", {"messages": [{"role": "user", "content": text}]}).json
        for _ in range(10):
            gateway.judge(gateway.chat("fjord-tiny", text).inference_id, value=False)
        gateway.router.learn()
        after = gateway.ask("POST", "/v1/route", {"messages": [{"role": "user", "content": text}]}).json

    was, now = (decision["candidates"][0]["forecast"]["quality"]["mean"] for decision in (before, after))
    assert now < was - 0.1
    assert after["model_version"] > before["model_version"]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"1.01", 400),
        (b"-0.01", 400),
        (b"NaN", 400),
        (b'"NaN"', 400),
        (b"Infinity", 400),
        (b"1e400", 400),
        (b'"true"', 400),
        (b"null", 400),
        (b"[1]", 400),
        (b"{}", 400),
        (b"123456789012345678901234567890", 400),
    ],
)
def test_a_value_that_is_no_judgement_is_refused(gateway: Gateway, value: bytes, status: int) -> None:
    inference_id = answered(gateway)
    before = gateway.learned()

    reply = gateway.ask("POST", "/v1/feedback", b'{"inference_id":"%s","value":%s}' % (inference_id.encode(), value))

    assert reply.status == status
    assert reply.error["type"] == "invalid_request_error"
    assert kept(gateway, inference_id) == []
    assert gateway.learned() == before


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"value": 1}, "inference_id"),
        ({"inference_id": "x"}, "value"),
        ({"inference_id": "x", "value": 1, "valeu": 2}, "valeu"),
        ({"inference_id": 7, "value": 1}, "inference_id"),
        ({"inference_id": "", "value": 1}, "inference_id"),
        ({"inference_id": "x" * 201, "value": 1}, "inference_id"),
        ({"inference_id": "a\u0000b", "value": 1}, "NUL"),
        ({"inference_id": "x", "value": 1, "tags": ["a"]}, "tags"),
        ({"inference_id": "x", "value": 1, "tags": {"a": 1}}, "tags"),
        ({"inference_id": "x", "value": 1, "metric_name": ""}, "metric"),
        ({"inference_id": "x", "value": 1, "source": ""}, "source"),
        ([], "object"),
    ],
)
def test_a_malformed_judgement_is_refused_by_its_field(gateway: Gateway, body: object, complaint: str) -> None:
    reply = gateway.ask("POST", "/v1/feedback", body)

    assert reply.status == 400
    assert complaint in reply.error["message"]


@pytest.mark.parametrize("inference_id", ["no-such-id", "01a2013f-e1c5-74a4-a12c-c9da2af9d603", "ü", "a/b"])
def test_a_judgement_of_nothing_is_refused(gateway: Gateway, inference_id: str) -> None:
    reply = gateway.judge(inference_id, value=True)

    assert reply.status == 404
    assert reply.error["code"] == "unknown_inference_id"
    assert "x-mixllm-inference-id" in reply.error["message"]


def test_the_same_judgement_twice_counts_once(gateway: Gateway) -> None:
    inference_id = answered(gateway)
    before = gateway.status_of("atlas-large")["judgements"]

    first, second = gateway.judge(inference_id, value=True), gateway.judge(inference_id, value=True)

    assert (first.status, second.status) == (200, 200)
    assert (first.json["duplicate"], second.json["duplicate"]) == (False, True)
    assert first.json["feedback_id"] == second.json["feedback_id"]
    assert gateway.status_of("atlas-large")["judgements"] == before + 1


def test_another_judgement_under_the_same_id_conflicts(gateway: Gateway) -> None:
    inference_id = answered(gateway)
    gateway.judge(inference_id, value=True)
    before = gateway.learned()

    conflicts = [gateway.judge(inference_id, value=False), gateway.judge(inference_id, value=1.0)]

    assert [reply.status for reply in conflicts] == [409, 409]
    assert conflicts[0].error["code"] == "conflicting_feedback"
    assert "Idempotency-Key" in conflicts[0].error["message"]
    assert gateway.learned() == before


def test_an_idempotency_key_names_the_judgement(gateway: Gateway) -> None:
    inference_id, other = answered(gateway), answered(gateway)
    body = {"inference_id": inference_id, "value": 0.5}

    def send(key: str, **fields: object) -> tuple[int, bool | None]:
        reply = gateway.ask("POST", "/v1/feedback", {**body, **fields}, {"Idempotency-Key": key})
        return reply.status, reply.json.get("duplicate")

    assert send("key-1") == (200, False)
    assert send("key-1") == (200, True)
    assert send("key-2", value=0.25) == (200, False)
    assert send("key-1", value=0.25) == (409, None)
    assert send("key-1", inference_id=other) == (409, None)
    assert send("x" * 601) == (400, None)
    assert [feedback["feedback_id"] for feedback in kept(gateway, inference_id)] == ["key-1", "key-2"]


def test_each_source_judges_once(gateway: Gateway) -> None:
    inference_id = answered(gateway)

    replies = [gateway.judge(inference_id, value=True), gateway.judge(inference_id, value=0.25, source="judge")]

    assert [(reply.status, reply.json["duplicate"]) for reply in replies] == [(200, False), (200, False)]
    assert {feedback["source"] for feedback in kept(gateway, inference_id)} == {"user", "judge"}


def test_another_metric_is_kept_and_teaches_no_quality(gateway: Gateway) -> None:
    inference_id = answered(gateway)
    before = gateway.status_of("atlas-large")["judgements"]

    reply = gateway.judge(inference_id, value=0.5, metric_name="politeness")

    assert reply.status == 200
    assert kept(gateway, inference_id)[0]["metric"] == "politeness"
    assert gateway.status_of("atlas-large")["judgements"] == before


def test_tags_are_kept(gateway: Gateway) -> None:
    inference_id = answered(gateway)

    gateway.judge(inference_id, value=True, tags={"team": "search", "ü": "é"})

    assert dict(kept(gateway, inference_id)[0]["tags"]) == {"team": "search", "ü": "é"}


def test_a_judgement_may_come_before_the_decision_is_durable(pool: PlaybackServer, tmp_path: Path) -> None:
    slow = config_for(pool, tmp_path / "m.db", ["atlas-large"], max_commit_delay_s=0.3)
    with Gateway(slow) as gateway:
        inference_id = gateway.chat().inference_id
        seen_at_once = gateway.ask("GET", f"/v1/decisions/{inference_id}")
        durable_then = gateway.router.store.counts()["decisions"]
        reply = gateway.judge(inference_id, value=True)

    assert seen_at_once.status == 200
    assert len(seen_at_once.json["outcomes"]) == 1
    assert durable_then == 0
    assert reply.json["duplicate"] is False


def test_a_judgement_may_come_while_the_call_is_still_under_way(gateway: Gateway) -> None:
    decision = gateway.ask("POST", "/v1/route", {"messages": [{"role": "user", "content": "x"}]}).json

    reply = gateway.judge(decision["decision_id"], value=True)

    assert reply.status == 200
