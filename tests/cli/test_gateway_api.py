from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from tests.cli.running import KEY, Serving

from mixllm.cli.gateway_api import GatewayAPI, GatewayError, exchange
from mixllm.errors import InvalidValueError
from mixllm.types import Secret

STOPPED = "http://127.0.0.1:9"


class Stranger(BaseHTTPRequestHandler):
    """Something else than a gateway."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {
        "/html/v1/llms": (404, b"<html>Not Found</html>"),
        "/json/v1/llms": (200, b'{"llms": "none"}'),
        "/error/v1/llms": (418, b'{"error": {"message": "tea\\u001b[31m only"}}'),
        "/moved/v1/llms": (302, b""),
        "/deep/v1/llms": (200, b"[" * 100_000),
    }
    asked: ClassVar[list[dict[str, str]]] = []

    def do_GET(self) -> None:
        self.asked.append(dict(self.headers))
        status, body = self.answers.get(self.path, (200, b""))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/json/v1/llms")
        if self.path.startswith("/drip"):
            self.end_headers()
            for _ in range(20):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        pass


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_no_gateway_is_a_message_with_the_next_step() -> None:
    with pytest.raises(GatewayError, match=r"No gateway answers at http://127\.0\.0\.1:9 .*mixllm serve") as caught:
        GatewayAPI(url=STOPPED).pool()
    assert caught.value.status is None


@pytest.mark.parametrize("path", ["html", "json", "moved", "deep"])
def test_a_stranger_is_told_from_a_gateway(stranger: str, path: str) -> None:
    with pytest.raises(GatewayError, match="does not speak as this version's gateway does"):
        GatewayAPI(url=f"{stranger}/{path}").pool()


def test_the_message_of_an_error_is_shown_without_what_steers_a_terminal(stranger: str) -> None:
    with pytest.raises(GatewayError, match=r"^tea \[31m only$") as caught:
        GatewayAPI(url=f"{stranger}/error").pool()
    assert caught.value.status == 418


def test_an_answer_that_drips_is_given_up(stranger: str) -> None:
    with pytest.raises(GatewayError, match=r"did not answer within 0\.2 s"):
        GatewayAPI(url=f"{stranger}/drip", timeout_s=0.2).pool()


def test_a_trailing_v1_is_understood(gateway: Serving) -> None:
    assert len(GatewayAPI(url=f"{gateway.url}/v1/").pool()) == 6


def test_keys(guarded: Serving) -> None:
    with pytest.raises(GatewayError, match=r"asks for an API key\. Set MIXLLM_API_KEY"):
        GatewayAPI(url=guarded.url).pool()
    with pytest.raises(GatewayError, match="refuses the API key") as caught:
        GatewayAPI(url=guarded.url, api_key=Secret("sk-wrong")).pool()
    assert "sk-wrong" not in str(caught.value)
    assert caught.value.status == 401
    assert len(GatewayAPI(url=guarded.url, api_key=Secret(f" {KEY}\n")).pool()) == 6


@pytest.mark.parametrize("key", ["sk-\n-hidden", "sk-ключ"])
def test_a_key_that_no_header_can_carry_is_not_shown(key: str) -> None:
    with pytest.raises(GatewayError, match="characters that no key has") as caught:
        GatewayAPI(url=STOPPED, api_key=Secret(key)).pool()
    assert key not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_key_goes_to_where_it_is_for_alone(stranger: str) -> None:
    Stranger.asked.clear()
    with pytest.raises(GatewayError):
        GatewayAPI(url=f"{stranger}/moved", api_key=Secret(KEY)).pool()
    assert [asked["Authorization"] for asked in Stranger.asked] == [f"Bearer {KEY}"]
    with pytest.raises(GatewayError):
        GatewayAPI(url=f"{stranger}/moved", api_key=Secret(KEY)).readiness()
    assert "Authorization" not in Stranger.asked[-1]


@pytest.mark.parametrize("url", ["http://:80", "http://[::1", "http://h:99999", "ftp://h", "http://", "nonsense"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidValueError, match="url must be"):
        exchange(url, timeout_s=1)


@pytest.mark.parametrize("url", ["http://" + "a" * 70 + ".example", "http://h o:1", "http://127.0.0.1:9/\x01"])
def test_what_cannot_be_asked_is_a_message(url: str) -> None:
    with pytest.raises(GatewayError, match="No gateway answers at"):
        GatewayAPI(url=url).pool()


def test_a_password_in_the_url_is_not_shown() -> None:
    with pytest.raises(GatewayError) as caught:
        GatewayAPI(url="http://me:secret@127.0.0.1:9").pool()
    assert "secret" not in str(caught.value)
