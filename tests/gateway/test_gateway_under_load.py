from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import msgspec
from tests.gateway.running import Gateway, chat_body, config_for

from mixllm.playback import PlaybackServer

CALLS = 50


async def test_nothing_is_lost_while_llms_come_and_go(playback: PlaybackServer, tmp_path: Path) -> None:
    statuses: list[int] = []
    ids: list[str] = []
    changes = 0
    visitor = msgspec.structs.replace(playback.llm_specs()[5], name="visitor", model="fjord-tiny")

    async def ask_and_judge(session: aiohttp.ClientSession, turn: int) -> None:
        body = chat_body(text=f"question {turn}", stream=turn % 2 == 0)
        async with session.post("/v1/chat/completions", json=body) as answer:
            statuses.append(answer.status)
            ids.append(answer.headers["x-mixllm-inference-id"])
            await answer.read()
        async with session.post("/v1/feedback", json={"inference_id": ids[-1], "value": turn % 3 > 0}) as receipt:
            statuses.append(receipt.status)

    async def change(session: aiohttp.ClientSession, done: asyncio.Event) -> None:
        nonlocal changes
        spec = msgspec.to_builtins(visitor)
        while not done.is_set():
            async with session.post("/v1/llms", json=spec) as added:
                statuses.append(added.status)
            await asyncio.sleep(0.01)
            async with session.delete("/v1/llms/visitor") as removed:
                statuses.append(removed.status)
            changes += 1

    with Gateway(config_for(playback, tmp_path / "m.db", ["atlas-large", "ember-mini"])) as gateway:
        done = asyncio.Event()
        async with aiohttp.ClientSession(gateway.url) as session:
            changing = asyncio.create_task(change(session, done))
            for _ in range(2):
                await asyncio.gather(*(ask_and_judge(session, turn) for turn in range(CALLS)))
            done.set()
            await changing
        router = gateway.router
        router.learn()
        with gateway.with_llm(visitor):
            judgements = sum(router.snapshot.judgements)
        counts = dict(router.store.counts())
        decisions = router.store.decisions(limit=1000)
        learned = router.learner.counts
        in_flight = gateway.in_flight()

    assert set(statuses) <= {200, 201}
    assert changes > 0
    assert len(set(ids)) == 2 * CALLS
    assert {decision.decision.decision_id for decision in decisions} >= set(ids)
    assert counts["dropped"] == 0
    assert counts["feedback"] == learned.feedback == judgements == 2 * CALLS
    assert counts["outcomes"] == counts["decisions"] == len(decisions)
    assert all(
        decision.outcomes[0].cost_usd is not None for decision in decisions if decision.outcomes[0].status == "ok"
    )
    assert learned.refused == 0
    assert in_flight == 0
