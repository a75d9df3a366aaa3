"""Bad input: refused with the right status and words that help, with nothing learned from it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.gateway.running import Gateway, chat_body, config_for, messages

from mixllm.playback import PlaybackServer

CHAT = "/v1/chat/completions"
FIVE_MB = json.dumps(chat_body(text="x" * 5_000_000)).encode()
NESTED = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture
def untouched(gateway: Gateway) -> Iterator[Gateway]:
    """The gateway, which must not have learned, decided or kept anything by the end of the test."""
    learned, kept = gateway.learned(), gateway.router.store.counts()
    yield gateway
    assert gateway.learned() == learned
    assert gateway.router.store.counts() == kept
    assert gateway.in_flight() == 0


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"model": "mixllm/auto",}', "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"\xff": 1}', "not valid JSON"),
        (b'{"a": "\\ud800"}', "not valid JSON"),
        (b'{"temperature": NaN}', "not valid JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b'"text"', "Expected `object`, got `str`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"a":' + NESTED + b"}", "nested too deeply"),
        (b"{}", "model is missing"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/route", "/v1/feedback", "/v1/llms"])
def test_what_is_no_json_object_is_refused(untouched: Gateway, path: str, body: bytes, complaint: str) -> None:
    reply = untouched.ask("POST", path, body)

    assert reply.status == 400
    assert reply.error["type"] == "invalid_request_error"
    assert path != CHAT or complaint in reply.error["message"]
    assert len(reply.body) < 1000


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("model", "", "model is missing or empty"),
        ("model", None, "Expected `str`, got `null`"),
        ("model", 7, "Expected `str`, got `int`"),
        ("model", ["mixllm/auto"], "Expected `str`, got `array`"),
        ("messages", [], "at least one message"),
        ("messages", None, "Expected `array`, got `null`"),
        ("messages", "hello", "Expected `array`, got `str`"),
        ("messages", {"role": "user"}, "Expected `array`, got `object`"),
        ("messages", ["hello"], "Expected `object`, got `str`"),
        ("messages", [None], "Expected `object`, got `null`"),
        ("messages", [{}], "role must be one of"),
        ("messages", [{"role": "narrator", "content": "x"}], "role must be one of"),
        ("messages", [{"role": 1, "content": "x"}], "role must be one of"),
        ("messages", [{"role": "user", "content": 7}], "messages[0].content"),
        ("messages", [{"role": "user", "content": {"text": "x"}}], "messages[0].content"),
        ("messages", [{"role": "user", "content": [7]}], "messages[0].content"),
        ("messages", [*messages("x"), {"role": "user", "content": [{"type": "text", "text": 7}]}], "messages[1]"),
        ("stream", "true", "Expected `bool | null`, got `str`"),
        ("stream", 1, "Expected `bool | null`, got `int`"),
        ("stream_options", [], "Expected `object | null`, got `array`"),
        ("stream_options", {"include_usage": "yes"}, "include_usage"),
        ("tools", {}, "Expected `array | null`, got `object`"),
        ("response_format", "json", "Expected `object | null`, got `str`"),
        ("modalities", "audio", "Expected `array | null`, got `str`"),
        ("max_tokens", 0, "max_tokens must be >= 1"),
        ("max_tokens", "many", "Expected `int | null`, got `str`"),
        ("max_completion_tokens", -5, "max_completion_tokens must be >= 1"),
        ("max_completion_tokens", 10**30, "max_tokens_out"),
        ("mixllm", None, "Expected `object`, got `null`"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_by_name(
    untouched: Gateway, field: str, value: object, complaint: str
) -> None:
    reply = untouched.ask("POST", CHAT, {**chat_body(), field: value})

    assert reply.status == 400
    assert complaint in reply.error["message"]
    assert (reply.error["param"] or "").startswith((field, "max_tokens_out"))


def test_a_lone_surrogate_in_a_message_is_refused(untouched: Gateway) -> None:
    body = rb'{"model":"mixllm/auto","messages":[{"role":"user","content":"a \ud83d b"}]}'

    reply = untouched.ask("POST", CHAT, body)

    assert reply.status == 400
    assert "not valid JSON" in reply.error["message"]


def test_messages_of_content_parts_are_answered(gateway: Gateway) -> None:
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "the capital of France?"}]

    assert gateway.ask("POST", CHAT, chat_body(messages=[{"role": "user", "content": parts}])).status == 200


def test_turns_without_text_are_answered(gateway: Gateway) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": ""},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": ""},
    ]

    assert gateway.ask("POST", CHAT, chat_body(messages=turns)).status == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/feedback", "/v1/llms"])
def test_a_body_above_the_limit_is_refused(untouched: Gateway, path: str) -> None:
    announced = untouched.ask("POST", path, FIVE_MB)
    unannounced = untouched.ask("POST", path, iter([b" " * 1_000_000] * 5))

    for reply in (announced, unannounced):
        assert reply.status == 413
        assert reply.error["code"] == "request_too_large"
        assert "gateway.max_body_bytes" in reply.error["message"]


def test_a_chunked_body_within_the_limit_is_answered(gateway: Gateway) -> None:
    body = json.dumps(chat_body()).encode()

    reply = gateway.ask("POST", CHAT, iter([body[:10], body[10:]]))

    assert reply.status == 200


def test_the_limit_can_be_set(pool: PlaybackServer, tmp_path: Path) -> None:
    config = config_for(pool, tmp_path / "m.db", ["atlas-large"], gateway={"max_body_bytes": 1024})
    with Gateway(config) as gateway:
        statuses = [gateway.chat(text="x" * size).status for size in (100, 2000)]

    assert statuses == [200, 413]


def test_a_large_body_within_the_limit_is_passed_on_whole(gateway: Gateway, playback: PlaybackServer) -> None:
    body = json.dumps(chat_body("atlas-large", "ü" * 1_500_000), ensure_ascii=False, separators=(",", ":")).encode()

    reply = gateway.ask("POST", CHAT, body)

    assert reply.status == 200
    assert playback.requests(1)[0].body == body


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "text/plain; application/json",
        "",
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/route", "/v1/feedback", "/v1/llms"])
def test_what_a_web_page_can_send_across_origins_is_refused(untouched: Gateway, path: str, content_type: str) -> None:
    headers = {"content-type": content_type, "origin": "https://example.org"}

    reply = untouched.ask("POST", path, json.dumps(chat_body()).encode(), headers)

    assert reply.status == 415
    assert "application/json" in reply.error["message"]
    assert not any(name.startswith("access-control-") for name in reply.headers)


def test_a_page_that_asks_first_is_not_allowed(untouched: Gateway) -> None:
    asked = {"origin": "https://example.org", "access-control-request-method": "DELETE"}

    reply = untouched.ask("OPTIONS", "/v1/llms/atlas-large", headers=asked)

    assert reply.status == 405
    assert not any(name.startswith("access-control-") for name in reply.headers)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", " application/json "])
def test_json_may_be_declared_in_any_form(gateway: Gateway, content_type: str) -> None:
    reply = gateway.ask("POST", CHAT, json.dumps(chat_body()).encode(), {"content-type": content_type})

    assert reply.status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/models/", 404),
        ("POST", "/v1/completions", 404),
        ("GET", CHAT, 405),
        ("PUT", "/v1/llms/atlas-large", 405),
        ("POST", "/metrics", 405),
        ("GET", "/v1/chat/completions/", 404),
        ("GET", "/" + "x" * 5000, 404),
    ],
)
def test_a_place_that_is_not_there_is_an_error_in_the_same_shape(
    untouched: Gateway, method: str, path: str, status: int
) -> None:
    reply = untouched.ask(method, path)

    assert reply.status == status
    assert len(reply.error["message"]) < 400


def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(untouched: Gateway) -> None:
    address = urlsplit(untouched.url)
    assert address.port is not None
    with closing(socket.create_connection((address.hostname, address.port))) as connection:
        head = (
            f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        )
        connection.sendall(head.encode() + b'{"model":')

    assert untouched.ask("GET", "/health/live").status == 200
