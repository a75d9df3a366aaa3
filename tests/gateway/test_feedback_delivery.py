"""Feedback as it comes in life: late, twice, in any order, before its outcome, around a restart, from many sides."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.gateway.judge_server import JudgeServer
from tests.gateway.running import Gateway, GatewayProcess, Reply, ask, chat_body, config_for, config_tree, eventually

from mixllm.config import parse_config
from mixllm.playback import AnswerBook, ErrorStatus, PlaybackServer

LLM, OTHER = "atlas-large", "ember-mini"
QUICK = {"kind": "hashing"}
EVERY = ["regenerate", "error", "empty", "cut"]


@pytest.fixture(scope="module")
def slow_pool(book: AnswerBook) -> Iterator[PlaybackServer]:
    """LLMs whose streams take about a second."""
    with PlaybackServer(book, time_scale=0.06) as running:
        yield running


def opened(pool: PlaybackServer, store: Path, **sections: Any) -> Gateway:
    return Gateway(config_for(pool, store, [LLM, OTHER], encoder=QUICK, **sections))


def send(gateway: Gateway, inference_id: str, value: object, *, key: str | None = None, **fields: object) -> Reply:
    headers = {} if key is None else {"Idempotency-Key": key}
    return gateway.ask("POST", "/v1/feedback", {"inference_id": inference_id, "value": value, **fields}, headers)


def judgements(gateway: Gateway) -> dict[str, float]:
    return {llm: gateway.status_of(llm)["judgements"] for llm in (LLM, OTHER)}


def test_feedback_that_comes_late_finds_its_decision_after_a_restart(pool: PlaybackServer, tmp_path: Path) -> None:
    with opened(pool, tmp_path / "m.db") as gateway:
        first = gateway.chat(OTHER).inference_id
        for number in range(20):
            gateway.chat(LLM, f"Question {number}?")
    with opened(pool, tmp_path / "m.db") as again:
        reply = send(again, first, value=0.5)
        learned = judgements(again)

    assert (reply.status, reply.json["duplicate"]) == (200, False)
    assert learned == {LLM: 0, OTHER: 1}


def test_the_order_of_independent_feedback_does_not_matter(pool: PlaybackServer, tmp_path: Path) -> None:
    values = [0.0, 1.0, True, False, 0.5, True, 0.25, False]
    qualities, learned = [], []
    for name, step in (("forth", 1), ("back", -1)):
        with opened(pool, tmp_path / f"{name}.db") as gateway:
            texts = [f"What is {number} times seven?" for number in range(len(values))]
            ids = [gateway.chat(LLM, text).inference_id for text in texts]
            for inference_id, value in list(zip(ids, values, strict=True))[::step]:
                assert send(gateway, inference_id, value).status == 200
            learned.append(judgements(gateway))
            decision = gateway.ask("POST", "/v1/route", chat_body(text=texts[0])).json
            qualities += [one["forecast"]["quality"]["mean"] for one in decision["candidates"] if one["llm"] == LLM]

    assert learned == [{LLM: len(values), OTHER: 0}] * 2
    assert qualities[0] == pytest.approx(qualities[1], abs=1e-3)


def test_feedback_on_a_stream_that_is_still_open_counts_once(slow_pool: PlaybackServer, tmp_path: Path) -> None:
    log = slow_pool.book.log
    longest = log.prompts[int(log.latency_s[:, log.llms.index(LLM)].argmax())]
    with opened(slow_pool, tmp_path / "m.db") as gateway:
        address = urlsplit(gateway.url)
        with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)) as connection:
            body = json.dumps(chat_body(LLM, longest, stream=True)).encode()
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            inference_id = answer.headers["x-mixllm-inference-id"] or ""
            assert answer.readline().startswith(b"data: ")
            early = send(gateway, inference_id, value=True)
            under_way = gateway.in_flight()
            outcomes_then = gateway.outcomes_of(inference_id)
            rest = answer.read()
        late = send(gateway, inference_id, value=True)
        outcomes = gateway.outcomes_of(inference_id)
        learned = judgements(gateway)

    assert (under_way, outcomes_then) == (1, [])
    assert rest.endswith(b"data: [DONE]\n\n")
    assert [reply.json["duplicate"] for reply in (early, late)] == [False, True]
    assert [outcome["status"] for outcome in outcomes] == ["ok"]
    assert learned == {LLM: 1, OTHER: 0}


def test_feedback_without_any_outcome_is_learned_now_and_after_a_restart(pool: PlaybackServer, tmp_path: Path) -> None:
    with opened(pool, tmp_path / "m.db") as gateway:
        inference_id = gateway.ask("POST", "/v1/route", chat_body(OTHER)).json["decision_id"]
        assert send(gateway, inference_id, value=True).json["duplicate"] is False
        before = judgements(gateway)
    with opened(pool, tmp_path / "m.db") as again:
        repeated = send(again, inference_id, value=True)
        after = judgements(again)

    assert before == after == {LLM: 0, OTHER: 1}
    assert repeated.json["duplicate"] is True


def test_keys_and_values_decide_what_is_a_duplicate_whatever_the_restart(pool: PlaybackServer, tmp_path: Path) -> None:
    with opened(pool, tmp_path / "m.db") as gateway:
        inference_id = gateway.chat(LLM).inference_id
        first = send(gateway, inference_id, value=0.5)
        keyed = send(gateway, inference_id, value=0.5, key="k-1")
    with opened(pool, tmp_path / "m.db") as again:
        replies = [
            send(again, inference_id, value=0.5),
            send(again, inference_id, value=0.5, key="k-1"),
            send(again, inference_id, value=0.75),
            send(again, inference_id, value=0.75, key="k-1"),
            send(again, inference_id, value=True),
            send(again, inference_id, value=0.75, key="k-2"),
        ]
        kept = [(one["feedback_id"], one["value"]) for one in again.feedback_of(inference_id)]
        learned = judgements(again)

    assert [first.json["duplicate"], keyed.json["duplicate"]] == [False, False]
    assert [reply.status for reply in replies] == [200, 200, 409, 409, 409, 200]
    assert [reply.json.get("duplicate") for reply in replies] == [True, True, None, None, None, False]
    assert kept == [(f"{inference_id}/user/quality", 0.5), ("k-1", 0.5), ("k-2", 0.75)]
    assert learned[LLM] == 3


def test_the_same_feedback_from_many_at_the_same_time_counts_once(pool: PlaybackServer, tmp_path: Path) -> None:
    with opened(pool, tmp_path / "m.db") as gateway:
        inference_id = gateway.chat(LLM).inference_id
        replies: list[Reply] = []
        threads = [
            threading.Thread(target=lambda value=value: replies.append(send(gateway, inference_id, value)))
            for value in (True, False) * 8
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (kept,) = gateway.feedback_of(inference_id)
        learned = judgements(gateway)

    # Whichever came first stands; its like are duplicates, and the others are told.
    assert sorted(reply.status for reply in replies) == [200] * 8 + [409] * 8
    assert sum(reply.json.get("duplicate") is False for reply in replies) == 1
    assert kept["value"] in (0.0, 1.0)
    assert learned[LLM] == 1


def test_keys_are_kept_with_what_they_sent(pool: PlaybackServer, tmp_path: Path) -> None:
    keys = ["k-ann", "k-bob"]
    with opened(pool, tmp_path / "m.db", gateway={"api_keys": keys}) as gateway:

        def post(path: str, body: object, key: str, **headers: str) -> Reply:
            return ask(gateway.url, "POST", path, body, {"authorization": f"Bearer {key}", **headers})

        inference_id = post("/v1/chat/completions", chat_body(LLM), "k-ann").inference_id
        body = {"inference_id": inference_id, "value": True}
        replies = [
            post("/v1/feedback", body, "k-ann"),
            post("/v1/feedback", body, "k-bob"),
            post("/v1/feedback", {**body, "value": False}, "k-bob"),
            post("/v1/feedback", {**body, "value": False}, "k-bob", **{"idempotency-key": "bob-1"}),
            post("/v1/feedback", {**body, "value": False, "source": "bob"}, "k-bob"),
        ]
        known = gateway.router.decision(inference_id)

    assert [reply.status for reply in replies] == [200, 200, 409, 200, 200]
    assert [reply.json.get("duplicate") for reply in replies] == [False, True, None, False, False]
    ann = known.decision.key_id
    assert [(one.source, one.value, one.key_id == ann) for one in known.feedback] == [
        ("user", 1.0, True),
        ("user", 0.0, False),
        ("bob", 0.0, False),
    ]
    assert not any(key in one.key_id for one in known.feedback for key in keys)


def everything(playback: PlaybackServer, gateway: Gateway, judge: JudgeServer) -> dict[str, set[str]]:
    """Let every source speak, and return the sources of each decision's feedback."""
    replies = [gateway.chat(LLM, f"Question {number}?", stream=number % 2 == 0) for number in range(4)]
    replies.append(gateway.chat(LLM, "Question 0?"))
    playback.put_faults(LLM, ErrorStatus(status=500))
    replies.append(gateway.chat(LLM, "What fails?"))
    playback.put_faults(LLM)
    for number, reply in enumerate(replies[:3]):
        assert send(gateway, reply.inference_id, number == 0).status == 200
        assert send(gateway, reply.inference_id, 0.5, source="editor").status == 200
    assert eventually(lambda: len(judge.bodies) == 5)
    assert gateway.llm_judge is not None
    counts = gateway.llm_judge.counts
    assert eventually(lambda: counts.judged == 5)
    return {reply.inference_id: {one["source"] for one in gateway.feedback_of(reply.inference_id)} for reply in replies}


def test_every_source_on_every_decision_counts_exactly_once_after_a_restart(
    playback: PlaybackServer, tmp_path: Path
) -> None:
    with JudgeServer() as judge:
        section = {"model": "j", "api_base": judge.base_url, "share": 1.0}
        sections: dict[str, Any] = {
            "signals": {"implicit": EVERY},
            "judge": {**section, "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6},
        }
        with opened(playback, tmp_path / "m.db", **sections) as gateway:
            said = everything(playback, gateway, judge)
            before = judgements(gateway)
            state = gateway.learned()
            taught = gateway.router.learner.counts.feedback
        with opened(playback, tmp_path / "m.db", **sections) as again:
            after = judgements(again)
            restored = again.learned()
            taught_again = again.router.learner.counts.feedback
            repeated = [send(again, inference_id, 0.5, source="editor") for inference_id in list(said)[:3]]
            kept = {inference_id: {one["source"] for one in again.feedback_of(inference_id)} for inference_id in said}
            at_last = judgements(again)

    assert [len(sources) for sources in said.values()] == [4, 3, 3, 1, 1, 1]
    assert next(iter(said.values())) == {"user", "editor", "judge", "implicit:regenerate"}
    assert list(said.values())[-1] == {"implicit:error"}
    assert (taught, taught_again) == (13, 0)
    assert before == after == at_last
    assert before[OTHER] == 0
    assert restored == state
    assert all(reply.json["duplicate"] for reply in repeated)
    assert kept == said


def test_a_kill_in_the_midst_of_every_source_repeats_and_loses_none(playback: PlaybackServer, tmp_path: Path) -> None:
    playback.put_faults(LLM, ErrorStatus(status=500, rate=0.5))
    signals = {"implicit": EVERY}
    tree = config_tree(
        playback, tmp_path / "m.db", [LLM], encoder=QUICK, signals=signals, learning={"checkpoint_interval_s": 0.05}
    )
    acknowledged: list[str] = []
    enough = threading.Event()

    def go_on(gateway: GatewayProcess, asker: int) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            for number in range(1000):
                chat = gateway.ask("POST", "/v1/chat/completions", chat_body(LLM, f"{asker} {number // 2}?"))
                body = {"inference_id": chat.inference_id, "value": number % 3 == 0}
                if gateway.ask("POST", "/v1/feedback", body).status == 200:
                    acknowledged.append(chat.inference_id)
                if len(acknowledged) >= 40:
                    enough.set()

    with GatewayProcess(tree, tmp_path) as gateway:
        threads = [threading.Thread(target=go_on, args=(gateway, asker)) for asker in range(2)]
        for thread in threads:
            thread.start()
        assert enough.wait(20)
        gateway.send(signal.SIGKILL)
        for thread in threads:
            thread.join()
        gateway.finish()
    afresh = tmp_path / "afresh.db"
    for part in tmp_path.glob("m.db*"):
        shutil.copy(part, tmp_path / part.name.replace("m.db", "afresh.db"))
    with closing(sqlite3.connect(afresh)) as database, database:
        database.execute("DELETE FROM states")
    with Gateway(parse_config(json.dumps({**tree, "store": {"path": str(afresh)}}))) as from_all_events:
        expected = from_all_events.status_of(LLM)["judgements"]
        events = from_all_events.router.learner.counts.feedback
    with Gateway(parse_config(json.dumps(tree))) as again:
        learned = again.status_of(LLM)["judgements"]
        stored = again.router.store.counts()["feedback"]
        kept = [again.feedback_of(inference_id) for inference_id in acknowledged]

    assert events == stored
    assert learned == pytest.approx(expected)
    assert all(any(one["source"] == "user" for one in feedback) for feedback in kept)
    sources = {one["source"] for feedback in kept for one in feedback}
    assert sources == {"user", "implicit:error", "implicit:regenerate"}
