"""Clients that go away: their LLM's work is cancelled, and their call recorded as such."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.gateway.running import Gateway, chat_body, eventually

from mixllm.gateway.departure import ClientLeftError, LeaveWatch
from mixllm.playback import AnswerBook, Hang, PlaybackServer

LLM = "atlas-large"


@pytest.fixture(scope="module")
def slow_pool(book: AnswerBook) -> Iterator[PlaybackServer]:
    """LLMs whose streams take about half a second."""
    with PlaybackServer(book, time_scale=0.2) as running:
        yield running


def begin(gateway: Gateway, **fields: object) -> socket.socket:
    """Send a chat request and do not wait for its answer."""
    address = urlsplit(gateway.url)
    assert address.port is not None
    connection = socket.create_connection((address.hostname, address.port), timeout=10)
    body = json.dumps(chat_body(**fields)).encode()  # type: ignore[arg-type] # any field of a request
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    connection.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
    return connection


def newest_outcomes(gateway: Gateway) -> list[tuple[str, bool]]:
    gateway.router.store.flush()
    (newest,) = gateway.router.store.decisions(limit=1)
    return [(outcome.status.value, outcome.streamed) for outcome in newest.outcomes]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_before_its_answer_cancels_the_call(
    gateway: Gateway, playback: PlaybackServer, caplog: pytest.LogCaptureFixture, *, stream: bool
) -> None:
    playback.put_faults(LLM, Hang())
    faults, left = playback.counts["faults"], playback.counts["left"]
    learned = gateway.learned()

    with closing(begin(gateway, model=LLM, stream=stream)):
        assert eventually(lambda: playback.counts["faults"] == faults + 1)
        assert gateway.in_flight() == 1

    assert eventually(lambda: playback.counts["left"] == left + 1)
    assert eventually(lambda: gateway.in_flight() == 0)
    assert newest_outcomes(gateway) == [("cancelled", stream)]
    assert gateway.learned() == learned
    assert caplog.text == ""


def test_a_client_that_leaves_in_the_middle_of_a_stream_cancels_it(
    gateway: Gateway, slow_pool: PlaybackServer, caplog: pytest.LogCaptureFixture
) -> None:
    spec = msgspec.structs.replace(slow_pool.llm_specs()[0], name="slow", model=LLM)

    with gateway.with_llm(spec):
        with closing(begin(gateway, model="slow", stream=True)) as connection:
            received = b""
            while b"data: " not in received:
                part = connection.recv(65_536)
                assert part, received
                received += part
            assert gateway.in_flight() == 1
        assert eventually(lambda: slow_pool.counts["left"] == 1)
        assert eventually(lambda: gateway.in_flight() == 0)

    assert b"[DONE]" not in received
    assert newest_outcomes(gateway) == [("cancelled", True)]
    assert caplog.text == ""


def test_a_client_that_stays_gets_its_slow_answer(gateway: Gateway, slow_pool: PlaybackServer) -> None:
    spec = msgspec.structs.replace(slow_pool.llm_specs()[0], name="slow", model=LLM)

    with gateway.with_llm(spec):
        plain, stream = gateway.chat("slow"), gateway.chat("slow", stream=True)

    assert (plain.status, stream.status) == (200, 200)
    assert stream.body.endswith(b"data: [DONE]\n\n")


class Client:
    """The client's side of an ASGI connection."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> MutableMapping[str, Any]:
        return await self.messages.get()


async def test_the_block_is_cancelled_when_the_client_leaves() -> None:
    client = Client()
    client.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    asyncio.get_running_loop().call_later(0.03, client.leave)

    with pytest.raises(ClientLeftError), LeaveWatch(client.receive):
        await asyncio.sleep(60)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_client_that_left_before_the_watch_is_noticed() -> None:
    client = Client()
    client.leave()

    with pytest.raises(ClientLeftError), LeaveWatch(client.receive):
        await asyncio.sleep(60)


async def test_a_quick_block_does_not_ask_at_all() -> None:
    client = Client()
    client.leave()

    with LeaveWatch(client.receive):
        await asyncio.sleep(0)

    await asyncio.sleep(0.04)
    assert client.messages.qsize() == 1


@pytest.mark.parametrize("delay_s", [0.0, 0.04])
async def test_a_block_s_own_errors_pass(delay_s: float) -> None:
    client = Client()

    with pytest.raises(LookupError), LeaveWatch(client.receive):  # noqa: PT012 -- the block is what is tested
        await asyncio.sleep(delay_s)
        raise LookupError

    await asyncio.sleep(0)
    assert client.messages.empty()


@pytest.mark.parametrize("client_leaves", [False, True])
async def test_a_cancellation_from_elsewhere_stays_one(*, client_leaves: bool) -> None:
    client = Client()

    async def watched() -> None:
        with LeaveWatch(client.receive):
            await asyncio.sleep(60)

    task = asyncio.create_task(watched())
    await asyncio.sleep(0.04)
    if client_leaves:
        client.leave()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_leaving_and_ending_at_once_leaves_no_cancellation_behind() -> None:
    client = Client()
    ended = asyncio.get_running_loop().create_future()

    async def watched() -> str:
        with LeaveWatch(client.receive):
            await ended
        await asyncio.sleep(0.01)
        return "whole"

    task = asyncio.create_task(watched())
    await asyncio.sleep(0.04)
    ended.set_result(None)
    client.leave()

    assert await task == "whole"


async def test_a_watch_that_had_to_ask_is_gone_without_a_full_collection() -> None:
    receive = asyncio.Event()

    async def waits() -> MutableMapping[str, Any]:
        await receive.wait()
        raise AssertionError

    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            with LeaveWatch(waits):
                await asyncio.sleep(0.03)
        await asyncio.sleep(0)
        # Not `isinstance`: some objects of other libraries warn when they are asked for their class.
        assert sum(type(one) is LeaveWatch for one in gc.get_objects()) <= 1
    finally:
        gc.enable()
