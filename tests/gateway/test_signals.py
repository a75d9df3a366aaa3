"""Implicit signals: what counts as thumbs down, and, above all, what does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.clients.wire import Handler, http_answer, open_wire, say, silence, sse_answer
from tests.gateway.running import Gateway, Reply, ask, chat_body, closed_port, config_for, eventually

from mixllm.playback import (
    TOOL_CALL_MARKER,
    BrokenStream,
    ConnectionDrop,
    EmptyAnswer,
    ErrorStatus,
    Fault,
    Garbage,
    Hang,
    PlaybackServer,
)
from mixllm.types import LLMSpec, Price

LLM = "atlas-large"
FREE = Price(usd_per_million_tokens_in=1, usd_per_million_tokens_out=2)
FORGIVING = {"max_cooldown_s": 1e-6}
"""A refusal of one test is over in the next."""

EVERY = {"implicit": ["regenerate", "error", "empty", "cut"], "regenerate_window_s": 300}
QUICK = {"kind": "hashing"}


@pytest.fixture(scope="module")
def watched(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in which every signal counts, and that calls once for each request."""
    store = tmp_path_factory.mktemp("watched") / "m.db"
    calls = {"max_attempts": 1, "breaker": {"enabled": False}}
    with Gateway(config_for(pool, store, signals=EVERY, encoder=QUICK, calls=calls, routing=FORGIVING)) as running:
        yield running


@contextmanager
def keyed(pool: PlaybackServer, store: Path) -> Iterator[Gateway]:
    keys = {"api_keys": ["k-one", "k-two"]}
    with Gateway(config_for(pool, store, signals=EVERY, encoder=QUICK, gateway=keys)) as running:
        yield running


def signals_of(gateway: Gateway, reply: Reply) -> list[str]:
    """Return the sources of the feedback on an answer, all of which are thumbs down."""
    feedback = gateway.feedback_of(reply.inference_id)
    assert all((one["kind"], one["value"], one["metric"]) == ("binary", 0.0, "quality") for one in feedback)
    return [one["source"] for one in feedback]


async def wired(gateway: Gateway, handler: Handler, **fields: Any) -> Reply:
    """Ask an LLM that answers with exactly the bytes of `handler`."""
    async with open_wire(handler) as wire:
        with gateway.with_llm(LLMSpec(name="wired", api_base=wire.base_url, price=FREE)):
            return await asyncio.to_thread(gateway.chat, "wired", **fields)


def answer(*, stream: bool, usage: object = None, finish_reason: str | None = "stop", **message: object) -> Handler:
    """Return a handler that answers with one message, whole or as the chunks of a stream."""
    told = {} if usage is None else {"usage": usage}
    if not stream:
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        return say(http_answer(json.dumps({"choices": [choice], **told}).encode()))
    chunks = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}], **told},
    ]
    events = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks)
    return say(sse_answer(events + b"data: [DONE]\n\n"))


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [ErrorStatus(status=500), ErrorStatus(status=503), ErrorStatus(status=401), ConnectionDrop(), Garbage()],
)
def test_an_llm_that_fails_gets_thumbs_down(
    watched: Gateway, playback: PlaybackServer, fault: Any, *, stream: bool
) -> None:
    playback.put_faults(LLM, fault)

    reply = watched.chat(LLM, stream=stream)

    assert reply.status == 502
    assert signals_of(watched, reply) == ["implicit:error"]


@pytest.mark.parametrize("status", [400, 404, 413, 422, 429])
def test_what_the_request_brought_about_does_not_count(watched: Gateway, playback: PlaybackServer, status: int) -> None:
    playback.put_faults(LLM, ErrorStatus(status=status))

    reply = watched.chat(LLM)

    assert reply.status == status
    assert signals_of(watched, reply) == []


def test_a_request_that_is_refused_here_has_no_decision_to_judge(watched: Gateway) -> None:
    watched.router.store.flush()
    before = watched.router.store.counts()["feedback"]

    refused = [watched.chat(LLM, max_tokens=0), watched.chat("no-such-llm"), watched.ask("POST", "/v1/feedback", {})]

    assert [reply.status for reply in refused] == [400, 404, 400]
    watched.router.store.flush()
    assert watched.router.store.counts()["feedback"] == before


@pytest.mark.parametrize("stream", [False, True])
def test_an_llm_that_is_down_or_late_gets_thumbs_down(
    watched: Gateway, playback: PlaybackServer, *, stream: bool
) -> None:
    playback.put_faults(LLM, Hang())
    late = msgspec.structs.replace(playback.llm_specs()[0], name="late", model=LLM, timeout_s=0.1)
    down = LLMSpec(name="down", api_base=f"http://127.0.0.1:{closed_port()}/v1", price=FREE)

    with watched.with_llm(late), watched.with_llm(down):
        replies = [watched.chat(name, stream=stream) for name in ("late", "down")]

    assert [reply.status for reply in replies] == [504, 502]
    assert [signals_of(watched, reply) for reply in replies] == [["implicit:error"]] * 2


def test_a_stream_that_breaks_gets_one_thumb_down(watched: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults(LLM, BrokenStream(after_chunks=2))

    reply = watched.chat(LLM, stream=True)

    assert reply.status == 200
    assert signals_of(watched, reply) == ["implicit:error"]


async def test_a_client_that_leaves_says_nothing(watched: Gateway) -> None:
    async with open_wire(silence()) as wire:
        with watched.with_llm(LLMSpec(name="mute", api_base=wire.base_url, price=FREE)):
            for stream in (False, True):
                body = chat_body("mute", stream=stream)
                with pytest.raises(TimeoutError):
                    await asyncio.to_thread(ask, watched.url, "POST", "/v1/chat/completions", body, None, 0.2)
            assert await asyncio.to_thread(eventually, lambda: watched.in_flight() == 0)
            watched.router.store.flush()
            left = [one for one in watched.router.store.decisions(limit=2) if one.decision.llm == "mute"]

    assert [outcome.status for one in left for outcome in one.outcomes] == ["cancelled", "cancelled"]
    assert [one.feedback for one in left] == [(), ()]


# ---- empty and cut answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_an_empty_answer_gets_thumbs_down(watched: Gateway, playback: PlaybackServer, *, stream: bool) -> None:
    playback.put_faults(LLM, EmptyAnswer())

    assert signals_of(watched, watched.chat(LLM, stream=stream)) == ["implicit:empty"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_of_a_tool_is_an_answer(watched: Gateway, *, stream: bool) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]

    reply = watched.chat(LLM, f"{TOOL_CALL_MARKER} {stream}", stream=stream, tools=tools)

    assert b"tool_calls" in reply.body
    assert signals_of(watched, reply) == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "usage", "cut"),
    [
        ({}, {"prompt_tokens": 9, "completion_tokens": 50}, True),
        ({}, None, True),
        ({"max_tokens": 4096}, {"prompt_tokens": 9, "completion_tokens": 50}, True),
        ({"max_tokens": 50}, {"prompt_tokens": 9, "completion_tokens": 50}, False),
        ({"max_completion_tokens": 50}, {"prompt_tokens": 9, "completion_tokens": 51}, False),
        ({"max_tokens": 4096}, None, False),
    ],
)
async def test_an_answer_that_ends_short_of_the_client_s_limit_is_cut(
    watched: Gateway, fields: dict[str, int], usage: object, *, cut: bool, stream: bool
) -> None:
    handler = answer(stream=stream, content="Once", finish_reason="length", usage=usage)

    reply = await wired(watched, handler, stream=stream, **fields)

    assert signals_of(watched, reply) == (["implicit:cut"] if cut else [])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_filtered_answer_is_cut_and_a_finished_one_is_not(watched: Gateway, *, stream: bool) -> None:
    filtered = answer(stream=stream, content="Once", finish_reason="content_filter")
    both = answer(stream=stream, content="", finish_reason="content_filter")

    assert signals_of(watched, await wired(watched, filtered, stream=stream, max_tokens=9)) == ["implicit:cut"]
    assert sorted(signals_of(watched, await wired(watched, both, stream=stream))) == ["implicit:cut", "implicit:empty"]
    assert signals_of(watched, await wired(watched, answer(stream=stream, content="Done."), stream=stream)) == []


async def test_an_answer_of_an_unknown_shape_counts_as_nothing(watched: Gateway) -> None:
    plain = await wired(watched, say(http_answer(b'{"choices":[{"message":"words"}]}')))
    stream = await wired(
        watched, say(sse_answer(b'data: {"choices":[7]}\n\ndata: [DONE]\n\n')), stream=True, user="another"
    )

    assert (plain.status, stream.status) == (200, 200)
    assert signals_of(watched, plain) == signals_of(watched, stream) == []


# ---- regenerate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(False, False), (False, True), (True, False), (True, True)])
def test_the_same_conversation_again_judges_the_earlier_answer(watched: Gateway, *, first: bool, second: bool) -> None:
    text = f"Name a river, {first} {second}."

    replies = [watched.chat(LLM, text, stream=first), watched.chat("mixllm/auto", text, stream=second, temperature=1)]

    assert [signals_of(watched, reply) for reply in replies] == [["implicit:regenerate"], []]
    third = watched.chat(LLM, text)
    assert [signals_of(watched, one) for one in (*replies, third)] == [
        ["implicit:regenerate"],
        ["implicit:regenerate"],
        [],
    ]


def test_a_changed_question_and_a_conversation_that_goes_on_are_none(watched: Gateway) -> None:
    start = [{"role": "user", "content": "Name a lake."}]
    turns = [
        start,
        [{"role": "user", "content": "Name a lake, please."}],
        [*start, {"role": "assistant", "content": "Como."}, {"role": "user", "content": "Name a lake."}],
        [{"role": "system", "content": "Be brief."}, *start],
    ]

    replies = [watched.ask("POST", "/v1/chat/completions", {"model": LLM, "messages": turn}) for turn in turns]

    assert [signals_of(watched, reply) for reply in replies] == [[]] * len(turns)


@pytest.mark.parametrize("stream", [False, True])
def test_a_retry_after_a_fault_is_none(watched: Gateway, playback: PlaybackServer, *, stream: bool) -> None:
    faults: list[tuple[Fault, list[str]]] = [
        (ErrorStatus(status=503, limit=1), ["implicit:error"]),
        (ErrorStatus(status=429, limit=1), []),
        (EmptyAnswer(limit=1), ["implicit:empty"]),
    ]
    for number, (fault, said) in enumerate(faults):
        playback.put_faults(LLM, fault)
        replies = [watched.chat(LLM, f"Name a tree, {number} {stream}.", stream=stream) for _ in range(2)]
        assert [signals_of(watched, reply) for reply in replies] == [said, []]


def test_the_same_question_of_several_at_the_same_time_is_none(watched: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults(LLM, Hang(for_s=0.3))

    async def at_once() -> list[Reply]:
        return await asyncio.gather(*(asyncio.to_thread(watched.chat, LLM, "Name a hill.") for _ in range(3)))

    replies = asyncio.run(at_once())

    assert [signals_of(watched, reply) for reply in replies] == [[]] * 3


def test_the_user_field_tells_apart_who_shares_an_address(watched: Gateway) -> None:
    replies = [watched.chat(LLM, "Name a sea.", user=user) for user in ("ann", "bob", "ann")]

    assert [signals_of(watched, reply) for reply in replies] == [["implicit:regenerate"], [], []]


def test_keys_are_told_apart_and_named_but_never_shown(pool: PlaybackServer, tmp_path: Path) -> None:
    with keyed(pool, tmp_path / "m.db") as gateway:

        def chat(key: str) -> Reply:
            headers = {"authorization": f"Bearer {key}"}
            return gateway.ask("POST", "/v1/chat/completions", chat_body(LLM, "Name a star."), headers)

        replies = [chat(key) for key in ("k-one", "k-two", "k-one")]
        gateway.router.store.flush()
        known = [gateway.router.decision(reply.inference_id) for reply in replies]

    (signal,) = known[0].feedback
    assert (signal.source, signal.key_id) == ("implicit:regenerate", known[0].decision.key_id)
    assert signal.key_id.startswith("key-")
    assert [one.feedback for one in known[1:]] == [(), ()]


# ---- beside explicit feedback ---------------------------------------------------------------------------------------


def test_explicit_feedback_stands_beside_a_signal_in_either_order(watched: Gateway) -> None:
    before = watched.chat(LLM, "Name a moon.")
    said_before = watched.judge(before.inference_id, value=True)
    again = watched.chat(LLM, "Name a moon.")
    watched.chat(LLM, "Name a moon.")
    said_after = watched.judge(again.inference_id, value=0.9)

    assert [said.json["duplicate"] for said in (said_before, said_after)] == [False, False]
    for reply, value in ((before, 1.0), (again, 0.9)):
        feedback = {one["source"]: one["value"] for one in watched.feedback_of(reply.inference_id)}
        assert feedback == {"user": value, "implicit:regenerate": 0.0}


@pytest.mark.parametrize("source", ["implicit:regenerate", "implicit:anything"])
def test_nobody_speaks_for_the_traffic(watched: Gateway, gateway: Gateway, source: str) -> None:
    for one in (watched, gateway):
        inference_id = one.chat(LLM, "Name a planet.").inference_id

        reply = one.judge(inference_id, value=True, source=source)

        assert reply.status == 400
        assert reply.error["param"] == "source"
        assert one.feedback_of(inference_id) == []


# ---- what is off, what is counted, what can go wrong ----------------------------------------------------------------


def test_nothing_counts_by_default(gateway: Gateway, playback: PlaybackServer) -> None:
    playback.put_faults(LLM, EmptyAnswer(limit=1), ErrorStatus(status=500, limit=1))

    replies = [gateway.chat(LLM, "Name a cloud.") for _ in range(4)]

    assert [reply.status for reply in replies] == [200, 502, 200, 200]
    assert [signals_of(gateway, reply) for reply in replies] == [[]] * 4
    assert b"implicit" not in gateway.ask("GET", "/metrics").body


@pytest.mark.parametrize("only", ["regenerate", "error", "empty", "cut"])
def test_only_what_is_configured_counts(playback: PlaybackServer, tmp_path: Path, only: str) -> None:
    with Gateway(
        config_for(playback, tmp_path / "m.db", [LLM], signals={"implicit": [only]}, encoder=QUICK)
    ) as gateway:
        playback.put_faults(LLM, ErrorStatus(status=500, limit=1))
        said = [*signals_of(gateway, gateway.chat(LLM))]
        playback.put_faults(LLM, EmptyAnswer(limit=1))
        replies = [gateway.chat(LLM), gateway.chat(LLM)]
        filtered = asyncio.run(wired(gateway, answer(stream=False, content="x", finish_reason="content_filter")))
        said += [source for reply in (*replies, filtered) for source in signals_of(gateway, reply)]

    assert set(said) == {f"implicit:{only}"}


def test_signals_are_learned_from_and_counted(playback: PlaybackServer, tmp_path: Path) -> None:
    playback.put_faults(LLM, ErrorStatus(status=500))
    with Gateway(config_for(playback, tmp_path / "m.db", [LLM], signals=EVERY, encoder=QUICK)) as gateway:
        for _ in range(3):
            gateway.chat(LLM)
        judgements = gateway.status_of(LLM)["judgements"]
        shown = gateway.ask("GET", "/metrics").body.decode()

    assert judgements == 3
    assert 'mixllm_implicit_signals_total{result="kept",signal="error"} 3.0' in shown


def test_a_store_that_refuses_loses_the_signal_and_not_the_request(
    pool: PlaybackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixllm.errors import StoreError

    def full(*_args: object, **_more: object) -> Future[Any]:
        raise StoreError("The store is full. Wait.")

    def broken(*_args: object, **_more: object) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(StoreError("The store is broken. Wait."))
        return future

    with Gateway(config_for(pool, tmp_path / "m.db", [LLM], signals=EVERY, encoder=QUICK)) as gateway:
        gateway.chat(LLM)
        for refusal in (full, broken):
            monkeypatch.setattr(gateway.router, "submit_feedback", refusal)
            assert gateway.chat(LLM).status == 200
        shown = gateway.ask("GET", "/metrics").body.decode()

    assert 'mixllm_implicit_signals_total{result="lost",signal="regenerate"} 2.0' in shown
