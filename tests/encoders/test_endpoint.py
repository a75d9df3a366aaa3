"""The encoder behind an endpoint: the whole suite over real sockets, what is sent, and what goes wrong."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.encoders.embedding_server import Asked, EmbeddingServer, embeddings_of, open_server

from mixllm.conformance.encoder import check_encoder
from mixllm.encoders import EndpointEncoder
from mixllm.errors import EncoderError, InvalidValueError

KEY = "sk-only-for-this-test"


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    """An endpoint that works."""
    with open_server() as running:
        yield running


def encoder_of(server: EmbeddingServer, **changed: Any) -> EndpointEncoder:
    fields: dict[str, Any] = {"api_base": server.url, "model": "m", "dimension": 16, "timeout_s": 30.0}
    return EndpointEncoder(**(fields | changed))


def reply(*embeddings: Any, **changed: Any) -> bytes:
    data = [{"index": index, "embedding": embedding} for index, embedding in enumerate(embeddings)]
    return json.dumps({"data": data} | changed).encode()


def error_of(answer: tuple[int, bytes], **changed: Any) -> str:
    """Return what the encoder says to an answer."""
    with open_server(lambda _asked: answer) as server, pytest.raises(EncoderError) as caught:
        encoder_of(server, **changed).encode("my secret text")
    assert "secret" not in str(caught.value)
    assert str(caught.value).startswith(f"The embeddings endpoint {server.url} (model 'm') ")
    return str(caught.value)


def test_it_passes_the_suite(server: EmbeddingServer) -> None:
    check_encoder(lambda: encoder_of(server))


def test_it_passes_the_suite_off_its_defaults(server: EmbeddingServer) -> None:
    check_encoder(lambda: encoder_of(server, batch=5, cache=20, max_chars=300, api_key_env="K", environ={"K": KEY}))


def test_what_is_sent(server: EmbeddingServer) -> None:
    encoder = encoder_of(server, model="bge/small", api_key_env="K", environ={"K": f" {KEY}\n"})
    encoder.encode("Grüße \ud800")
    (asked,) = server.asked
    assert asked.path == "/v1/embeddings"
    assert asked.body == {"model": "bge/small", "input": ["Grüße \ufffd"], "encoding_format": "float"}
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    encoder_of(server).encode("x")
    assert "authorization" not in server.asked[1].headers


def test_vectors_come_in_the_order_of_the_texts_at_unit_length(server: EmbeddingServer) -> None:
    vectors = encoder_of(server).encode_batch(["one text", "two texts", "", " \n", "one text"])
    data = json.loads(embeddings_of(server.asked[0])[1])["data"][::-1]
    for row, index in ((0, 0), (1, 1), (4, 0)):
        expected = np.array(data[index]["embedding"])
        np.testing.assert_allclose(vectors[row], expected / np.linalg.norm(expected), atol=1e-6)
    assert not vectors[2:4].any()
    assert server.asked[0].body["input"] == ["one text", "two texts"], "no blank, none twice"


def test_batches_are_bounded(server: EmbeddingServer) -> None:
    encoder_of(server, batch=3).encode_batch([f"text {number}" for number in range(8)])
    assert [len(asked.body["input"]) for asked in server.asked] == [3, 3, 2]


def test_a_text_is_sent_once_while_it_is_remembered(server: EmbeddingServer) -> None:
    encoder = encoder_of(server, cache=2)
    for text in ("a", "b", "a", "c", "a", "b"):  # c pushes out b, the least lately used
        encoder.encode(text)
    assert [asked.body["input"] for asked in server.asked] == [["a"], ["b"], ["c"], ["b"]]
    forgetful = encoder_of(server, cache=0)
    forgetful.encode("a")
    forgetful.encode("a")
    assert len(server.asked) == 6


def test_long_texts_are_cut(server: EmbeddingServer) -> None:
    encoder = encoder_of(server, max_chars=9)
    encoder.encode("0123456789")
    assert server.asked[0].body["input"] == ["01\n456789"]
    assert encoder.max_chars == 9


def test_what_changes_vectors_changes_the_fingerprint() -> None:
    base: dict[str, Any] = {"api_base": "http://h/v1", "model": "m", "dimension": 4}
    others: list[dict[str, Any]] = [{"model": "n"}, {"dimension": 5}, {"max_chars": 9}, {"api_base": "http://g/v1"}]
    prints = {EndpointEncoder(**(base | other)).fingerprint for other in [{}, *others]}
    assert len(prints) == 5
    same: dict[str, Any] = {"api_base": "http://h/v1/", "batch": 2, "cache": 3, "timeout_s": 1.0, "api_key_env": "K"}
    assert EndpointEncoder(**(base | same)).fingerprint == EndpointEncoder(**base).fingerprint


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "status 401. Check the key"),
        (404, "status 404. Check api_base"),
        (429, "status 429. It is over its rate limit"),
        (500, "status 500"),
        (302, "status 302"),
    ],
)
def test_error_statuses_are_told_without_their_body(status: int, expected: str) -> None:
    assert expected in error_of((status, b"my secret text is refused"))


def test_redirects_are_not_followed_and_nothing_is_tried_again() -> None:
    with open_server(lambda _asked: (307, b"")) as server:
        with pytest.raises(EncoderError):
            encoder_of(server).encode("x")
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "something else than embeddings"),
        (b"<html>", "something else than embeddings"),
        (b"[]", "something else than embeddings"),
        (b'{"data": [{"index": 0, "embedding": "AAAA"}]}', "something else than embeddings"),
        (b'{"data": [{"index": 0, "embedding": [1, null]}]}', "something else than embeddings"),
        (b'{"data": [{"index": 0, "embedding": [NaN]}]}', "something else than embeddings"),
        (b'{"error": {"message": "my secret text"}}', "something else than embeddings"),
        (reply(), "0 embeddings to 1 texts"),
        (reply([1.0] * 16, [1.0] * 16), "2 embeddings to 1 texts"),
        (b'{"data": [{"index": 4, "embedding": [1]}]}', "misnumbered"),
        (reply([1.0] * 15), "vectors of 15 numbers, not 16. Correct dimension"),
        (reply([]), "vectors of 0 numbers"),
        (reply([0.0] * 16), "without a direction"),
        (reply([1e308] * 16), "without a direction"),
    ],
)
def test_answers_that_are_no_embeddings_are_refused(body: bytes, expected: str) -> None:
    assert expected in error_of((200, body))


def test_answers_that_are_too_long_are_refused() -> None:
    assert "more than 1000 bytes" in error_of((200, b" " * 1001), max_reply_bytes=1000)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
def test_broken_answers_are_refused(raw: bytes) -> None:
    assert "cannot be reached" in error_of((0, raw))


def test_a_silent_endpoint_is_left_in_time() -> None:
    release = threading.Event()

    def silent(asked: Asked) -> tuple[int, bytes]:
        release.wait(30)
        return embeddings_of(asked)

    with open_server(silent) as server:
        with pytest.raises(EncoderError, match=r"took longer than 0\.2 s"):
            encoder_of(server, timeout_s=0.2).encode("x")
        release.set()


def test_an_endpoint_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    encoder = EndpointEncoder(api_base=f"http://127.0.0.1:{port}/v1", model="m", dimension=4)
    with pytest.raises(EncoderError, match=r"cannot be reached \(Connection refused\)\. Is it running"):
        encoder.encode("x")
    assert not encoder.encode("").any(), "the empty text needs no endpoint"


@pytest.mark.parametrize(
    ("value", "state"), [(None, "not set"), ("  ", "not set"), ("a\nb", "not usable"), ("ü", "not usable")]
)
def test_a_key_that_is_missing_or_unusable_is_named(value: str | None, state: str) -> None:
    environ = {} if value is None else {"MY_KEY": value}
    encoder = EndpointEncoder(api_base="http://h/v1", model="m", dimension=4, api_key_env="MY_KEY", environ=environ)
    with pytest.raises(EncoderError, match=f"The environment variable MY_KEY.*{state}"):
        encoder.encode("x")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("api_base", "h/v1"),
        ("api_base", "ftp://h/v1"),
        ("api_base", "http://"),
        ("api_base", "http://h:99999/v1"),
        ("api_base", "http://me:pw@h/v1"),
        ("api_base", "http://h/v1?x=1"),
        ("api_base", "http://h/v 1"),
        ("api_base", "http://h/v1\r\nX: y"),
        ("api_base", None),
        ("model", " "),
        ("model", None),
        ("dimension", 0),
        ("dimension", True),
        ("dimension", None),
        ("timeout_s", 0.0),
        ("timeout_s", float("inf")),
        ("max_chars", 0),
        ("batch", 0),
        ("cache", -1),
        ("max_reply_bytes", 0),
        ("api_key_env", " "),
    ],
)
def test_bad_parameters_are_refused(parameter: str, value: object) -> None:
    fields: dict[str, Any] = {"api_base": "http://h/v1", "model": "m", "dimension": 4}
    with pytest.raises(InvalidValueError) as caught:
        EndpointEncoder(**(fields | {parameter: value}))
    assert caught.value.parameter == parameter
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("text", [None, 5, b"bytes"])
def test_what_is_no_text_is_refused(text: Any) -> None:
    encoder = EndpointEncoder(api_base="http://h/v1", model="m", dimension=4)
    with pytest.raises(InvalidValueError, match="text must be a string"):
        encoder.encode(text)
    with pytest.raises(InvalidValueError, match="use encode for one"):
        encoder.encode_batch("text")
