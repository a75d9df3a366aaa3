from __future__ import annotations

import pytest
from tests.gateway.running import Gateway, chat_body

from mixllm.playback import AnswerBook, PlaybackServer


def test_route_decides_explains_and_calls_nobody(gateway: Gateway, playback: PlaybackServer) -> None:
    calls = playback.counts["requests"]

    reply = gateway.ask("POST", "/v1/route", chat_body())

    decision = reply.json
    assert reply.status == 200
    assert decision["llm"] in playback.book.llms
    assert {candidate["llm"] for candidate in decision["candidates"]} == set(playback.book.llms)
    assert sum(candidate["propensity"] for candidate in decision["candidates"]) == pytest.approx(1)
    assert decision["reason"]
    assert len(decision["tags"]) == 3
    assert playback.counts["requests"] == calls
    assert gateway.in_flight() == 0


def test_route_needs_no_model_and_takes_constraints(gateway: Gateway) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "mixllm": {"allowed_llms": ["ember-mini", "fjord-tiny"]}}

    decision = gateway.ask("POST", "/v1/route", body).json

    assert {candidate["llm"] for candidate in decision["candidates"]} == {"ember-mini", "fjord-tiny"}
    assert len(decision["ineligible"]) == 4


def test_route_with_a_concrete_model_is_forced(gateway: Gateway) -> None:
    decision = gateway.ask("POST", "/v1/route", chat_body("ember-mini")).json

    assert (decision["llm"], decision["policy"]) == ("ember-mini", "forced")


def test_a_routed_decision_can_be_read_and_judged(gateway: Gateway) -> None:
    decision = gateway.ask("POST", "/v1/route", chat_body()).json

    before = gateway.ask("GET", f"/v1/decisions/{decision['decision_id']}").json
    gateway.judge(decision["decision_id"], value=0.5)
    after = gateway.ask("GET", f"/v1/decisions/{decision['decision_id']}").json

    assert before == {"decision": decision, "outcomes": [], "feedback": [], "prompt": None}
    assert [feedback["value"] for feedback in after["feedback"]] == [0.5]


def test_a_decision_tells_what_became_of_it(gateway: Gateway, book: AnswerBook) -> None:
    reply = gateway.chat("ember-mini", book.log.prompts[2])
    gateway.judge(reply.inference_id, value=False)

    known = gateway.ask("GET", f"/v1/decisions/{reply.inference_id}").json

    recorded = book.answer("ember-mini", book.log.prompts[2])
    (outcome,) = known["outcomes"]
    assert (outcome["llm"], outcome["status"], outcome["streamed"]) == ("ember-mini", "ok", False)
    assert (outcome["tokens_in"], outcome["tokens_out"]) == (recorded.tokens_in, recorded.tokens_out)
    assert outcome["cost_usd"] == pytest.approx(recorded.cost_usd)
    assert outcome["latency_s"] > 0
    assert [(feedback["kind"], feedback["value"]) for feedback in known["feedback"]] == [("binary", 0.0)]


@pytest.mark.parametrize("inference_id", ["nothing", "%00", "%ED%A0%80", "x" * 1000, "..%2F..%2Fetc"])
def test_an_unknown_decision_is_not_found(gateway: Gateway, inference_id: str) -> None:
    reply = gateway.ask("GET", f"/v1/decisions/{inference_id}")

    assert reply.status == 404
    assert len(reply.error["message"]) < 600
