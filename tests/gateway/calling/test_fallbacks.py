"""Failures of LLMs: who is asked next, what the client sees, and what is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import openai
import pytest
from tests.gateway.calling.ranking import RANKED, calls_of, metric, ranked_config
from tests.gateway.running import Gateway, chat_body, closed_port, config_tree, eventually

from mixllm.config import parse_config
from mixllm.errors import UpstreamStatusError
from mixllm.gateway.calling.faults import Blame, fault_of
from mixllm.gateway.calling.lineup import Lineup
from mixllm.playback import BrokenStream, ConnectionDrop, ErrorStatus, Fault, Garbage, Hang, PlaybackServer
from mixllm.types import LLMSpec, Price, Query


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [
        (ErrorStatus(status=500), "error", "status 500"),
        (ErrorStatus(status=429, retry_after_s=60), "error", "status 429"),
        (ErrorStatus(status=401), "error", "status 401"),
        (ErrorStatus(status=404), "error", "status 404"),
        (Garbage(), "error", "unusable answer"),
        (ConnectionDrop(), "error", "no connection"),
        (BrokenStream(after_chunks=0), "error", "unusable answer"),
    ],
)
def test_a_failure_before_the_first_byte_falls_back_on_the_next_best(
    steady: Gateway, playback: PlaybackServer, fault: Fault, status: str, word: str, *, stream: bool
) -> None:
    best, second, _ = RANKED
    playback.put_faults(best, fault)
    further = f'mixllm_further_calls_total{{kind="fallback",llm="{second}"}}'
    failures = f'mixllm_call_failures_total{{llm="{best}",reason="{word}"}}'
    before = metric(steady, further), metric(steady, failures)

    reply = steady.chat(stream=stream)

    assert reply.status == 200
    assert reply.headers["x-mixllm-model"] == second
    assert reply.headers["x-mixllm-attempts"] == "2"
    assert reply.headers["x-mixllm-reason"].endswith(f"; {best} failed ({word})")
    assert "x-mixllm-hedged" not in reply.headers
    assert calls_of(steady, reply) == [(best, status, 0), (second, "ok", 1)]
    assert f'"model":"{second}"'.encode() in reply.body
    assert steady.in_flight() == 0
    assert (metric(steady, further), metric(steady, failures)) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("status", [400, 422])
def test_a_fault_of_the_request_is_passed_on_and_nobody_else_is_asked(
    steady: Gateway, playback: PlaybackServer, status: int
) -> None:
    best, *_ = RANKED
    playback.put_faults(best, ErrorStatus(status=status))

    reply = steady.chat()

    assert reply.status == status
    assert "Playback fault" in reply.error["message"], "as it came"
    assert reply.headers["x-mixllm-attempts"] == "1"
    assert calls_of(steady, reply) == [(best, "error", 0)]


def test_where_all_fail_the_last_error_is_told_after_as_many_attempts_as_allowed(
    steady: Gateway, playback: PlaybackServer
) -> None:
    order = RANKED
    for llm in order:
        playback.put_faults(llm, ErrorStatus(status=500))

    reply = steady.chat()

    assert reply.status == 502
    assert reply.headers["x-mixllm-attempts"] == "3"
    assert calls_of(steady, reply) == [(llm, "error", attempt) for attempt, llm in enumerate(order)]
    assert steady.in_flight() == 0


def test_an_llm_that_is_named_is_asked_again_and_no_other(steady: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults("ember-mini", ErrorStatus(status=503, limit=2))

    reply = steady.chat("ember-mini")

    assert reply.status == 200
    assert calls_of(steady, reply) == [("ember-mini", "error", 0), ("ember-mini", "error", 1), ("ember-mini", "ok", 2)]
    assert metric(steady, 'mixllm_further_calls_total{kind="retry",llm="ember-mini"}') == 2


def test_a_named_llm_that_answers_nonsense_is_not_asked_again(steady: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults("ember-mini", Garbage())

    reply = steady.chat("ember-mini")

    assert (reply.status, reply.headers["x-mixllm-attempts"]) == (502, "1")


def test_a_wait_that_is_too_long_is_left_to_the_client(steady: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults("ember-mini", ErrorStatus(status=429, retry_after_s=30))

    reply = steady.chat("ember-mini")

    assert (reply.status, reply.headers["retry-after"], reply.headers["x-mixllm-attempts"]) == (429, "30", "1")


def test_a_short_wait_is_kept(steady: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults("ember-mini", ErrorStatus(status=429, retry_after_s=1, limit=1))

    reply = steady.chat("ember-mini")

    assert reply.status == 200
    assert calls_of(steady, reply) == [("ember-mini", "error", 0), ("ember-mini", "ok", 1)]
    decided = steady.ask("GET", f"/v1/decisions/{reply.inference_id}").json
    assert sum(one["latency_s"] for one in decided["outcomes"]) < 1, "the wait is no time of the LLM"


def test_nothing_is_repeated_after_the_first_byte(steady: Gateway, playback: PlaybackServer) -> None:
    best, *_ = RANKED
    playback.put_faults(best, BrokenStream(after_chunks=2))

    reply = steady.chat(stream=True)

    events = [line.removeprefix(b"data: ") for line in reply.body.split(b"\n\n") if line]
    assert json.loads(events[-1])["error"]["code"] == "upstream_error"
    assert not reply.body.endswith(b"data: [DONE]\n\n")
    assert calls_of(steady, reply) == [(best, "broken_stream", 0)]


def test_hard_constraints_hold_for_fallbacks(steady: Gateway, playback: PlaybackServer) -> None:
    best, second, third = RANKED
    for llm in (best, second):
        playback.put_faults(llm, ErrorStatus(status=500))

    reply = steady.chat(mixllm={"allowed_llms": [best, second]})

    assert reply.status == 502
    assert {llm for llm, _, _ in calls_of(steady, reply)} == {best, second}
    assert third not in reply.headers["x-mixllm-reason"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_hang_ends_with_the_time_of_the_request(playback: PlaybackServer, tmp_path: Path, *, stream: bool) -> None:
    tree = config_tree(playback, tmp_path / "m.db", ["ember-mini"], calls={"max_total_s": 0.2})
    playback.put_faults("ember-mini", Hang())
    with Gateway(parse_config(json.dumps(tree))) as gateway:
        reply = gateway.chat(stream=stream)
        left = eventually(lambda: gateway.in_flight() == 0)
        outcomes = gateway.outcomes_of(reply.inference_id)
        breaker = gateway.router.breakers.status("ember-mini")

    assert left
    assert reply.status == 504
    assert "max_total_s" in reply.error["message"]
    assert [one["status"] for one in outcomes] == ["timeout"]
    assert breaker.failures == 0, "a request in a hurry says little of the LLM"


def test_a_stream_that_does_not_begin_falls_back(own: Gateway, playback: PlaybackServer) -> None:
    best, second, _ = RANKED
    playback.put_faults(best, Hang())
    spec = own.router.llm(best)
    left = playback.counts["left"]
    own.router.update_llm(msgspec.structs.replace(spec, first_token_timeout_s=0.1))

    reply = own.chat(stream=True)

    assert reply.status == 200
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert calls_of(own, reply) == [(best, "timeout", 0), (second, "ok", 1)]
    assert eventually(lambda: playback.counts["left"] == left + 1), "what hangs is left"


def test_a_port_that_is_closed_falls_back_and_feedback_goes_to_who_answered(own: Gateway) -> None:
    dead = LLMSpec(
        name="dead",
        api_base=f"http://127.0.0.1:{closed_port()}/v1",
        price=Price(usd_per_million_tokens_in=0, usd_per_million_tokens_out=0),
        public_score=1.0,
    )
    for llm in RANKED:
        if llm != "ember-mini":
            own.router.remove_llm(llm)
    with own.with_llm(dead):
        before = {llm: own.status_of(llm)["judgements"] for llm in ("dead", "ember-mini")}
        replies = [own.chat() for _ in range(3)]
        for reply in replies:
            assert reply.status == 200
            assert reply.headers["x-mixllm-model"] == "ember-mini"
            assert own.judge(reply.inference_id, value=True).status == 200
        after = {llm: own.status_of(llm)["judgements"] for llm in ("dead", "ember-mini")}
    assert after["dead"] == before["dead"]
    assert after["ember-mini"] > before["ember-mini"]


def test_openai_s_own_client_sees_an_answer(steady: Gateway, playback: PlaybackServer) -> None:
    best, second, _ = RANKED
    playback.put_faults(best, ErrorStatus(status=503))
    with openai.OpenAI(base_url=f"{steady.url}/v1", api_key="unused", max_retries=0, timeout=20) as client:
        body = chat_body()
        plain = client.chat.completions.create(**body)
        streamed = list(client.chat.completions.create(**body, stream=True))

    assert plain.model == second
    assert {chunk.model for chunk in streamed} == {second}


def test_a_context_that_is_too_long_goes_to_a_larger_window_only(own: Gateway) -> None:
    router = own.router
    best, second, third = RANKED
    for llm, window in ((best, 8_000), (second, 8_000), (third, 32_000)):
        router.update_llm(msgspec.structs.replace(router.llm(llm), context_window=window))
    decision = router.route("What is the capital of France?")
    lineup = Lineup(
        router=router,
        decision=decision,
        query=Query(text="x"),
        spec=router.llm(decision.llm),
        config=own.config.calls,
    )
    fault = fault_of(UpstreamStatusError(best, 400, b"This model's maximum context length is 8000 tokens"))
    lineup.failed(router.llm(decision.llm), fault, now_s=0.0)
    turn = lineup.after(fault, elapsed_s=0.0, now_s=0.0, left_s=9.0)

    assert fault.blame is Blame.OVERFLOW
    assert (decision.llm, turn and turn.spec.name) == (best, third)


def test_a_failure_that_a_retry_makes_up_for_is_no_signal(playback: PlaybackServer, tmp_path: Path) -> None:
    """Who fails and is replaced gets thumbs down; who answers in the end does not, nor who answered instead."""
    config = ranked_config(playback, tmp_path / "m.db", signals={"implicit": ["error"]})
    with Gateway(config) as gateway:
        best, *_ = RANKED
        playback.put_faults("ember-mini", ErrorStatus(status=503, limit=1))
        repaired = gateway.chat("ember-mini")
        playback.put_faults("ember-mini")
        playback.put_faults(best, ErrorStatus(status=503))
        replaced = gateway.chat(text="another one")
        judged = {reply.inference_id: gateway.feedback_of(reply.inference_id) for reply in (repaired, replaced)}
        gateway.router.learn()
        events = gateway.router.store.events_after(0)

    assert (repaired.status, replaced.status) == (200, 200)
    assert replaced.headers["x-mixllm-model"] != best
    assert judged[repaired.inference_id] == []
    assert [one["source"] for one in judged[replaced.inference_id]] == ["implicit:error"]
    assert [event.llm for event in events if event.feedback is not None] == [best]
