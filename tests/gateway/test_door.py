"""The door: too many requests, too much in their bodies, and clients that read slowly."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.clients.wire import Request, open_wire, sse_answer
from tests.gateway.running import Gateway, chat_body, config_for, eventually
from tests.gateway.test_departure import begin

from mixllm.config import parse_config
from mixllm.errors import ConfigError
from mixllm.playback import Hang, PlaybackServer
from mixllm.types import LLMSpec, Price

FREE = Price(usd_per_million_tokens_in=0, usd_per_million_tokens_out=0)
EVENT = b'data: {"choices":[{"delta":{"content":"' + b"x" * 4000 + b'"}}]}\n\n'


def test_requests_beyond_the_limit_are_refused_and_the_rest_is_not_touched(
    playback: PlaybackServer, tmp_path: Path
) -> None:
    playback.put_faults("ember-mini", Hang())
    config = config_for(playback, tmp_path / "m.db", ["ember-mini"], gateway={"max_in_flight": 2})
    with Gateway(config) as gateway:
        with closing(begin(gateway)), closing(begin(gateway, stream=True)):
            assert eventually(lambda: gateway.in_flight() == 2)
            refused = gateway.chat()
            others = [gateway.ask("GET", path).status for path in ("/health/ready", "/metrics", "/v1/llms")]
        assert eventually(lambda: gateway.in_flight() == 0)
        playback.put_faults("ember-mini")
        later = gateway.chat()
        text = gateway.ask("GET", "/metrics").body.decode()

    assert refused.status == 429
    assert refused.error["code"] == "overloaded"
    assert "max_in_flight" in refused.error["message"]
    assert refused.headers["retry-after"] == "1"
    assert others == [200, 200, 200]
    assert later.status == 200
    assert 'mixllm_shed_requests_total{reason="max_in_flight"} 1.0' in text


def test_bodies_beyond_the_limit_are_refused_before_they_are_read(playback: PlaybackServer, tmp_path: Path) -> None:
    playback.put_faults("ember-mini", Hang())
    limits = {"max_body_bytes": 10_000, "max_in_flight_bytes": 15_000}
    config = config_for(playback, tmp_path / "m.db", ["ember-mini"], gateway=limits)
    with Gateway(config) as gateway:
        with closing(begin(gateway, text="x" * 8000)):
            assert eventually(lambda: gateway.in_flight() == 1)
            large = gateway.chat(text="x" * 8000)
            # Without a length it counts as the longest there may be.
            chunked = gateway.ask("POST", "/v1/chat/completions", iter([json.dumps(chat_body()).encode()]))
        assert eventually(lambda: gateway.in_flight() == 0)

    assert (large.status, chunked.status) == (429, 429)
    assert "max_in_flight_bytes" in large.error["message"]


def test_limits_that_let_nobody_in_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_in_flight"):
        parse_config(json.dumps({"gateway": {"max_in_flight": 0}}))
    with pytest.raises(ConfigError, match="max_body_bytes"):
        parse_config(json.dumps({"gateway": {"max_in_flight_bytes": 2000}}))


async def test_a_client_that_reads_slowly_makes_its_llm_send_slowly(gateway: Gateway) -> None:
    """A stream of 40 MB, a client that does not read: what is on the way stays within the buffers of a few sockets."""
    sent = 0

    async def flood(_request: Request, writer: asyncio.StreamWriter) -> bool:
        nonlocal sent
        writer.write(sse_answer(EVENT, whole=False))
        for _ in range(10_000):
            writer.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            await writer.drain()
            sent += len(EVENT)
        return False

    async with open_wire(flood) as wire:
        with gateway.with_llm(LLMSpec(name="flood", api_base=wire.base_url, price=FREE)):
            connection = await asyncio.to_thread(_narrow, gateway, "flood")
            with closing(connection):
                before = -1
                while sent != before or sent == 0:
                    before = sent
                    await asyncio.sleep(0.3)
                stalled_at = sent
            assert await asyncio.to_thread(eventually, lambda: gateway.in_flight() == 0)

    assert 0 < stalled_at < 16_000_000


def _narrow(gateway: Gateway, model: str) -> socket.socket:
    """Ask for a stream over a connection with a small buffer, and read nothing."""
    address = urlsplit(gateway.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    connection.connect((address.hostname, address.port))
    body = json.dumps(chat_body(model, stream=True)).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    connection.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
    return connection


@pytest.mark.parametrize("reads", [True, False])
async def test_a_stream_ends_after_its_longest_time(playback: PlaybackServer, tmp_path: Path, *, reads: bool) -> None:
    async def drip(_request: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(sse_answer(EVENT, whole=False))
        while not writer.is_closing():
            writer.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            await writer.drain()
            if reads:
                await asyncio.sleep(0.01)
        return False

    config = config_for(playback, tmp_path / "m.db", ["ember-mini"], calls={"max_stream_s": 0.4})
    async with open_wire(drip) as wire:
        with Gateway(config) as gateway, gateway.with_llm(LLMSpec(name="d", api_base=wire.base_url, price=FREE)):
            if reads:
                reply = await asyncio.to_thread(gateway.chat, "d", stream=True)
                last = json.loads(reply.body.split(b"\n\n")[-2].removeprefix(b"data: "))
                assert "max_stream_s" in last["error"]["message"]
                assert reply.body.endswith(b"\n\n")
            else:
                with closing(await asyncio.to_thread(_narrow, gateway, "d")):
                    assert await asyncio.to_thread(eventually, lambda: gateway.in_flight() == 1)
                    assert await asyncio.to_thread(eventually, lambda: gateway.in_flight() == 0)
