"""Late LLMs: another is started beside them, the first to deliver wins, and the loser is cancelled and paid for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from tests.gateway.calling.ranking import RANKED, calls_of, metric, ranked_config
from tests.gateway.running import Gateway, eventually
from tests.gateway.test_departure import begin, newest_outcomes

from mixllm.gateway.calling.hedging import HedgeAllowance
from mixllm.gateway.calling.lineup import Lineup
from mixllm.playback import ErrorStatus, Hang, PlaybackServer, Slow
from mixllm.types import Query

HEDGE = {"enabled": True, "factor": 1e-9, "min_delay_s": 0.1, "max_share": 1.0}
"""Late after 0.1 s, whatever the forecast."""


@pytest.fixture
def hedging(playback: PlaybackServer, tmp_path: Path) -> Iterator[Gateway]:
    calls = {"breaker": {"enabled": False}, "hedge": HEDGE, "max_attempts": 1}
    with Gateway(ranked_config(playback, tmp_path / "m.db", calls=calls)) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
def test_the_quicker_one_answers_and_the_late_one_is_cancelled(
    hedging: Gateway, playback: PlaybackServer, *, stream: bool
) -> None:
    late, second, _ = RANKED
    playback.put_faults(late, Hang())
    left = playback.counts["left"]

    reply = hedging.chat(stream=stream)

    assert reply.status == 200
    assert reply.headers["x-mixllm-model"] == second
    assert reply.headers["x-mixllm-hedged"] == late
    assert reply.headers["x-mixllm-attempts"] == "2"
    assert f"{second} was started beside {late} after 0.10 s" in reply.headers["x-mixllm-reason"]
    assert eventually(lambda: playback.counts["left"] == left + 1), "the work of the late one is cancelled"
    assert calls_of(hedging, reply) == [(late, "cancelled", 0), (second, "ok", 1)]
    lost, won = sorted(hedging.outcomes_of(reply.inference_id), key=lambda one: str(one["attempt"]))
    price = hedging.router.llm(late).price
    decision = hedging.router.decision(reply.inference_id).decision
    assert price is not None
    assert lost["cost_usd"] == pytest.approx(price.cost_usd(tokens_in=decision.tokens_in, tokens_out=0))
    assert (lost["cost_estimated"], won["cost_estimated"]) == (True, False)
    if not stream:
        assert float(reply.headers["x-mixllm-cost-usd"]) == pytest.approx(lost["cost_usd"] + won["cost_usd"])
    assert metric(hedging, f'mixllm_hedges_total{{llm="{late}",result="won"}}') == 1
    assert metric(hedging, "mixllm_hedge_cost_usd_total") == pytest.approx(lost["cost_usd"])
    assert hedging.in_flight() == 0


def test_the_late_one_may_still_win(hedging: Gateway, playback: PlaybackServer) -> None:
    late, second, _ = RANKED
    playback.put_faults(late, Slow(add_s=0.3))
    playback.put_faults(second, Hang())

    reply = hedging.chat(stream=True)

    assert reply.headers["x-mixllm-model"] == late
    assert reply.headers["x-mixllm-hedged"] == late
    assert calls_of(hedging, reply) == [(late, "ok", 0), (second, "cancelled", 1)]
    assert metric(hedging, f'mixllm_hedges_total{{llm="{late}",result="lost"}}') == 1


def test_one_that_fails_leaves_the_race_to_the_other(hedging: Gateway, playback: PlaybackServer) -> None:
    late, second, _ = RANKED
    playback.put_faults(late, Slow(add_s=0.3))
    playback.put_faults(second, ErrorStatus(status=500))

    reply = hedging.chat()

    assert reply.status == 200
    assert calls_of(hedging, reply) == [(late, "ok", 0), (second, "error", 1)]


def test_who_is_in_time_is_not_hedged(hedging: Gateway) -> None:
    reply = hedging.chat()

    assert reply.headers["x-mixllm-attempts"] == "1"
    assert "x-mixllm-hedged" not in reply.headers


def test_a_client_that_leaves_cancels_both(hedging: Gateway, playback: PlaybackServer) -> None:
    late, second, _ = RANKED
    for llm in (late, second):
        playback.put_faults(llm, Hang())
    faults, left = playback.counts["faults"], playback.counts["left"]

    with closing(begin(hedging)):
        # Both have arrived; under way they are a moment before.
        assert eventually(lambda: playback.counts["faults"] == faults + 2)

    assert eventually(lambda: playback.counts["left"] == left + 2)
    assert eventually(lambda: hedging.in_flight() == 0)
    assert newest_outcomes(hedging) == [("cancelled", False)] * 2


def test_a_named_llm_is_not_hedged(hedging: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults("ember-mini", Slow(add_s=0.3))

    reply = hedging.chat("ember-mini")

    assert (reply.status, reply.headers["x-mixllm-attempts"]) == (200, "1")


def test_an_llm_removed_meanwhile_is_not_started(hedging: Gateway, playback: PlaybackServer) -> None:
    late, second, third = RANKED
    decision = hedging.router.route("What is the capital of France?", expect_outcome=False)
    lineup = Lineup(
        router=hedging.router,
        decision=msgspec.structs.replace(decision, llm=late),
        query=Query(text="x"),
        spec=hedging.router.llm(late),
        config=hedging.config.calls,
    )
    hedging.router.remove_llm(second)
    turn = lineup.beside(elapsed_s=0.0)

    assert turn is not None
    assert turn.spec.name == third
    del playback


def test_the_share_of_hedges_is_bounded() -> None:
    allowance = HedgeAllowance(max_share=0.05)
    taken = 0
    for _ in range(1000):
        allowance.request()
        taken += allowance.take()
    assert taken == pytest.approx(50, abs=1)
    for _ in range(10_000):
        allowance.request()
    assert sum(allowance.take() for _ in range(100)) == 5, "quiet times save up a few"
