"""What a client can send is bounded: heads, URLs, nesting, numbers, messages; and what an endpoint can make it do."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.gateway.running import Gateway, GatewayProcess, chat_body, config_tree, entry

from mixllm.config import parse_config
from mixllm.playback import PlaybackServer

CHAT = "/v1/chat/completions"
USER = '"messages":[{"role":"user","content":"x"}]'
DEEP = 100_000


@pytest.fixture(scope="module")
def process(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("bounds")
    with GatewayProcess(config_tree(pool, folder / "m.db", ["atlas-large"]), folder) as running:
        yield running


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health/live HTTP/1.1\r\nx-long: ",
        b"GET /" + b"x" * 1000,
        b"GET /health/live HTTP/1.1\r\n" + b"a: b\r\n" * 100,
    ],
)
def test_a_head_that_does_not_end_is_not_waited_for(process: GatewayProcess, head: bytes) -> None:
    parts = urlsplit(process.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        connection.sendall(head)
        answer = b""
        try:
            for _ in range(200):
                connection.sendall((b"y: z\r\n" if head.endswith(b"\r\n") else b"yyyyyy") * 200)
            answer = connection.recv(1000)
        except (BrokenPipeError, ConnectionResetError):
            pass  # Closed while more was being sent.
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431", b"HTTP/1.1 414"))
    assert process.ask("GET", "/health/live").status == 200


def test_many_requests_on_one_connection_are_not_taken_for_one_head(process: GatewayProcess) -> None:
    parts = urlsplit(process.url)
    request = b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"y" * 8000 + b"\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        reader = connection.makefile("rb")
        for _ in range(20):
            connection.sendall(request)
            assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
            size = 0
            while (line := reader.readline()) != b"\r\n":
                size = int(line.split()[1]) if line.startswith(b"content-length") else size
            reader.read(size)


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"mixllm/auto","messages":' + "[" * DEEP + "]" * DEEP + "}",
        '{"model":"mixllm/auto",' + USER + ',"x":' + "[" * DEEP + "]" * DEEP + "}",
        '{"model":"mixllm/auto",' + USER + ',"x":' + '{"a":' * DEEP + "1" + "}" * DEEP + "}",
        '{"model":"mixllm/auto","messages":[{"role":"user","content":' + '[{"type":' * 900 + "1" + "}]" * 900 + "}]}",
        '{"model":"mixllm/auto",' + USER + ',"max_tokens":' + "9" * 100_000 + "}",
        '{"model":"mixllm/auto",' + USER + ',"max_tokens":1e999}',
        '{"model":"mixllm/auto",' + USER + ',"temperature":' + "9" * 100_000 + "}",
        '{"model":"mixllm/auto",' + USER + ',"mixllm":{"lambda":1e999}}',
        '{"model":"mixllm/auto",' + USER + ',"mixllm":{"max_cost_usd":' + "9" * 5000 + "}}",
        '{"model":"mixllm/auto","messages":[' + ",".join(["{}"] * 500_000) + "]}",
        '{"model":"mixllm/auto","messages":[' + ",".join(['{"role":"user","content":"x"}'] * 100_000) + "]}",
        '{"model":"' + "m" * 100_000 + '",' + USER + "}",
        "{" + ",".join(f'"f{place}":1' for place in range(100_000)) + "," + USER + "}",
    ],
    ids=lambda body: body[:60],
)
def test_no_body_is_more_than_it_can_take(process: GatewayProcess, body: str) -> None:
    reply = process.ask("POST", CHAT, body.encode())

    assert reply.status < 500
    if reply.status != 200:
        assert len(reply.body) < 2000
    assert process.ask("POST", CHAT, chat_body()).status == 200


def test_too_many_messages_are_refused(process: GatewayProcess) -> None:
    reply = process.ask("POST", CHAT, chat_body(messages=[{"role": "user", "content": "x"}] * 10_001))

    assert (reply.status, reply.error["param"]) == (400, "messages")
    assert "10000" in reply.error["message"].replace(",", "")


def test_a_request_cannot_choose_where_it_is_sent(process: GatewayProcess) -> None:
    with Listening() as (url, paths):
        fields: dict[str, Any] = {
            "api_base": f"{url}/v1",
            "base_url": f"{url}/v1",
            "custom_llm_provider": "x",
            "headers": {"host": url},
        }
        assert process.ask("POST", CHAT, chat_body("atlas-large", **fields)).status in {200, 400}
        assert process.ask("POST", CHAT, chat_body(f"{url}/v1")).status == 404
        wishes = {"api_base": url}
        assert process.ask("POST", CHAT, chat_body(mixllm=wishes)).status == 400
    assert paths == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("stream", [False, True])
def test_an_endpoint_cannot_send_a_request_elsewhere(
    pool: PlaybackServer, tmp_path: Path, status: int, *, stream: bool
) -> None:
    with Listening() as (target, paths), Listening(status=status, location=f"{target}/v1") as (url, asked):
        llm = entry(pool.llm_specs()[0], api_base=f"{url}/v1", api_key="sk-secret")
        tree = config_tree(pool, tmp_path / "m.db", [], model_list=[llm])
        with Gateway(parse_config(json.dumps(tree))) as gateway:
            assert gateway.chat(stream=stream).status == 502
    assert asked
    assert paths == []


def test_memory_stays_bounded_under_the_worst_bodies(process: GatewayProcess) -> None:
    body = ('{"model":"mixllm/auto","messages":[' + ",".join(["{}"] * 1_000_000) + "]}").encode()

    def resident_mb() -> float:
        text = Path(f"/proc/{process._process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    process.ask("POST", CHAT, body)
    before_mb = resident_mb()
    for _ in range(5):
        assert process.ask("POST", CHAT, body).status == 400
    assert resident_mb() - before_mb < 100


class Listening:
    """A server on loopback that notes what it is asked for, and sends everybody elsewhere where it has a location."""

    def __init__(self, *, status: int = 200, location: str = "") -> None:
        paths: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                paths.append(self.path)
                self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(status)
                if location:
                    self.send_header("location", location)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._paths = paths
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> tuple[str, list[str]]:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}", self._paths

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
