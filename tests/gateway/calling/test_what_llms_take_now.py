"""Fallbacks, retries and hedges, and what LLMs take now: refusals, rate limits and limits on time go for them too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.gateway.calling.ranking import RANKED, STEADY, calls_of, ranked_config
from tests.gateway.running import Gateway, chat_body, eventually
from tests.gateway.test_departure import begin

from mixllm.errors import UpstreamStatusError
from mixllm.gateway.calling.faults import fault_of
from mixllm.gateway.calling.lineup import Lineup, Turn
from mixllm.playback import ErrorStatus, Hang, PlaybackServer
from mixllm.types import Outcome, Query

BEST, SECOND, THIRD = RANKED


@pytest.fixture
def minding(playback: PlaybackServer, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway over the three LLMs that heeds refusals for up to a minute."""
    with Gateway(ranked_config(playback, tmp_path / "m.db", calls=STEADY, routing={"max_cooldown_s": 60})) as running:
        yield running


def limited(gateway: Gateway, llm: str, requests: int) -> None:
    spec = gateway.router.llm(llm)
    gateway.router.update_llm(msgspec.structs.replace(spec, requests_per_minute=requests))


def after_failure(gateway: Gateway, status: int, *, named: str | None = None, hold_s: dict[str, float]) -> Turn | None:
    """Return whose turn it is after the chosen LLM failed, where others asked to wait since the decision."""
    router = gateway.router
    decision = router.route("What is the capital of France?", llm=named)
    spec = router.llm(decision.llm)
    lineup = Lineup(router=router, decision=decision, query=Query(text="x"), spec=spec, config=gateway.config.calls)
    for llm, retry_after_s in hold_s.items():
        router.refused(llm, retry_after_s)
    fault = fault_of(UpstreamStatusError(spec.name, status))
    lineup.failed(spec, fault, now_s=0.0)
    return lineup.after(fault, elapsed_s=0.0, now_s=0.0, left_s=9.0)


def teach_speed(gateway: Gateway, llms: tuple[str, ...] = RANKED) -> None:
    """Let LLMs answer so often and so quickly that their latency is known."""
    router = gateway.router
    for llm in llms:
        for number in range(40):
            decision = router.route(f"question {number}", llm=llm)
            router.record(decision.decision_id, Outcome(tokens_in=10, tokens_out=20, latency_s=0.01))
    router.learn()


def test_a_refusal_falls_back_is_heeded_afterwards_and_is_no_failure_of_the_breaker(
    minding: Gateway, playback: PlaybackServer
) -> None:
    playback.put_faults(BEST, ErrorStatus(status=429, retry_after_s=30))

    first, then = minding.chat(), minding.chat()

    assert calls_of(minding, first) == [(BEST, "error", 0), (SECOND, "ok", 1)]
    assert calls_of(minding, then) == [(SECOND, "ok", 0)]
    status = minding.ask("GET", f"/v1/llms/{BEST}").json
    assert 25 < status["refused_s"] <= 30
    assert (status["breaker"]["state"], status["breaker"]["failures"]) == ("closed", 0)


def test_who_refuses_since_the_decision_is_no_fallback(minding: Gateway) -> None:
    turn = after_failure(minding, 500, hold_s={SECOND: 30.0})

    assert turn is not None
    assert turn.spec.name == THIRD


def test_where_all_others_refuse_the_error_is_told(minding: Gateway) -> None:
    assert after_failure(minding, 500, hold_s={SECOND: 30.0, THIRD: 30.0}) is None


@pytest.mark.parametrize(("hold_s", "waits"), [(1.0, True), (30.0, False)])
def test_a_retry_waits_as_long_as_any_request_was_asked_to(minding: Gateway, hold_s: float, *, waits: bool) -> None:
    turn = after_failure(minding, 503, named=BEST, hold_s={BEST: hold_s})

    assert (turn is not None) is waits
    if turn is not None:
        assert turn.again
        assert 0.9 < turn.wait_s <= 1.0


def test_a_fallback_uses_up_a_rate_limit(minding: Gateway, playback: PlaybackServer) -> None:
    limited(minding, SECOND, 1)
    playback.put_faults(BEST, ErrorStatus(status=500))

    first, then = minding.chat(), minding.chat()

    assert calls_of(minding, first) == [(BEST, "error", 0), (SECOND, "ok", 1)]
    assert calls_of(minding, then) == [(BEST, "error", 0), (THIRD, "ok", 1)]
    (refused,) = minding.router.decision(then.inference_id).decision.ineligible
    assert refused.llm == SECOND
    assert "rate limit of 1 requests/min" in refused.reason


def test_a_fallback_never_exceeds_a_rate_limit_that_was_free_when_it_was_decided(minding: Gateway) -> None:
    limited(minding, SECOND, 1)
    router, config = minding.router, minding.config.calls
    turns = []
    for _ in range(2):
        decision = router.route("What is the capital of France?")
        spec = router.llm(decision.llm)
        turns.append(
            (Lineup(router=router, decision=decision, query=Query(text="x"), spec=spec, config=config), decision)
        )
    fault = fault_of(UpstreamStatusError(BEST, 500))
    called = []
    for lineup, decision in turns:
        turn = lineup.after(fault, elapsed_s=0.0, now_s=0.0, left_s=9.0)
        assert turn is not None
        router.begin_attempt(decision, turn.spec.name, 1)
        called.append(turn.spec.name)

    assert called == [SECOND, THIRD]


def test_a_hedge_uses_up_a_rate_limit(playback: PlaybackServer, tmp_path: Path) -> None:
    hedge = {"enabled": True, "factor": 1e-9, "min_delay_s": 0.05, "max_share": 1.0}
    calls = {"breaker": {"enabled": False}, "hedge": hedge, "max_attempts": 1}
    playback.put_faults(BEST, Hang())
    with Gateway(ranked_config(playback, tmp_path / "m.db", calls=calls)) as gateway:
        limited(gateway, SECOND, 1)
        winners = [gateway.chat().headers["x-mixllm-model"] for _ in range(2)]

    assert winners == [SECOND, THIRD]


def test_a_limit_on_time_of_the_configuration_goes_for_fallbacks(playback: PlaybackServer, tmp_path: Path) -> None:
    calls = {**STEADY, "first_token_timeout_s": 0.5}
    config = ranked_config(playback, tmp_path / "m.db", calls=calls, routing={"max_latency_s": 0.4})
    playback.put_faults(BEST, Hang())
    with Gateway(config) as gateway:
        teach_speed(gateway)
        routed, named = gateway.chat(stream=True), gateway.chat(SECOND, stream=True)

    assert (routed.status, routed.headers["x-mixllm-attempts"]) == (504, "1"), "nobody answers in the time that is left"
    assert "did not begin within 0.5 s" in routed.error["message"], "the limit rules out, and cuts nobody off"
    assert named.status == 200


def keyed(playback: PlaybackServer, path: Path, **settings: Any) -> Gateway:
    """Return a gateway with a key that opens everything, ``free``, and one with settings, ``bound``."""
    keys = [{"name": "free", "key": "free-" + "x" * 40}, {"name": "bound", "key": "bound-" + "x" * 40, **settings}]
    return Gateway(ranked_config(playback, path, calls=STEADY, gateway={"keys": keys}, routing={"max_cooldown_s": 60}))


FREE, BOUND = ({"authorization": f"Bearer {name}-{'x' * 40}"} for name in ("free", "bound"))
CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("model", ["mixllm/auto", BEST])
def test_a_key_s_longest_time_is_a_constraint_and_ends_its_calls(
    playback: PlaybackServer, tmp_path: Path, model: str
) -> None:
    with keyed(playback, tmp_path / "m.db", max_latency_s=0.3) as gateway:
        early = gateway.ask("POST", CHAT, chat_body(model), BOUND)
        teach_speed(gateway)
        in_time = gateway.ask("POST", CHAT, chat_body(model), BOUND)
        playback.put_faults(BEST, Hang(for_s=0.6))
        late = gateway.ask("POST", CHAT, chat_body(model), BOUND)
        patient = gateway.ask("POST", CHAT, chat_body(model), FREE)

    assert (early.status, early.error["code"]) == (422, "no_eligible_llm"), "not known to be quick enough"
    assert (in_time.status, patient.status) == (200, 200)
    assert late.status == 504
    assert "max_latency_s" in late.error["message"]


def test_a_busy_pool_is_that_of_the_key(playback: PlaybackServer, tmp_path: Path) -> None:
    with keyed(playback, tmp_path / "m.db", allowed_llms=[BEST]) as gateway:
        gateway.router.refused(BEST, 30.0)
        busy = gateway.ask("POST", CHAT, chat_body(), BOUND)
        elsewhere = gateway.ask("POST", CHAT, chat_body(SECOND), BOUND)
        free = gateway.ask("POST", CHAT, chat_body(), FREE)

    assert (busy.status, busy.error["code"]) == (429, "pool_busy")
    assert 25 < int(busy.headers["retry-after"]) <= 30
    assert elsewhere.status == 403, "that its own are busy opens no others"
    assert (free.status, free.json["model"]) == (200, SECOND)


def test_under_way_is_who_is_asked_now(minding: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults(BEST, ErrorStatus(status=500))
    playback.put_faults(SECOND, Hang())
    with closing(begin(minding)):
        assert eventually(lambda: minding.router.traffic.counts() == {SECOND: 1}), "and who failed no more"
    assert eventually(lambda: minding.in_flight() == 0)
