"""The real server in a process of its own: signals, restarts, kills."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.gateway.running import Gateway, GatewayProcess, Reply, chat_body, config_tree, entry, eventually

from mixllm.config import parse_config
from mixllm.errors import ConfigError
from mixllm.gateway.serve import listen, serve
from mixllm.playback import AnswerBook, Hang, PlaybackServer
from mixllm.store import SQLiteStore

SHORT = ["atlas-large", "ember-mini"]


@pytest.fixture(scope="module")
def slow_pool(book: AnswerBook) -> Iterator[PlaybackServer]:
    """LLMs whose streams take about a second."""
    with PlaybackServer(book, time_scale=0.5) as running:
        yield running


def judgements(gateway: GatewayProcess) -> dict[str, float]:
    listed = gateway.ask("GET", "/v1/llms").json["llms"]
    return {status["spec"]["name"]: status["judgements"] for status in listed}


def in_flight(gateway: GatewayProcess) -> int:
    return sum(status["in_flight"] for status in gateway.ask("GET", "/v1/llms").json["llms"])


@contextlib.contextmanager
def open_stream(gateway: GatewayProcess, body: object) -> Iterator[http.client.HTTPResponse]:
    """Send a chat request and read its answer piece by piece."""
    address = urlsplit(gateway.url)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)) as connection:
        declared = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), declared)
        yield connection.getresponse()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_open_stream_end_and_keeps_everything(
    slow_pool: PlaybackServer, tmp_path: Path, number: signal.Signals
) -> None:
    tree = config_tree(slow_pool, tmp_path / "m.db", SHORT, max_commit_delay_s=5)
    with GatewayProcess(tree, tmp_path) as gateway:
        with open_stream(gateway, chat_body("atlas-large", stream=True)) as answer:
            first = answer.readline()
            gateway.send(number)
            rest = answer.read()
        status = gateway.finish()

    assert first.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert status == 0
    assert gateway.log == ""
    with closing(SQLiteStore(path=tmp_path / "m.db")) as store:
        known = store.decision(answer.headers["x-mixllm-inference-id"] or "")
    assert [outcome.status for outcome in known.outcomes] == ["ok"]


def test_requests_beyond_the_grace_are_cut_cleanly(
    playback: PlaybackServer, slow_pool: PlaybackServer, tmp_path: Path
) -> None:
    tree = config_tree(playback, tmp_path / "m.db", SHORT)
    tree["model_list"][1] = entry(msgspec.structs.replace(slow_pool.llm_specs()[0], name="slow", model="atlas-large"))
    playback.put_faults("atlas-large", Hang())
    log = slow_pool.book.log
    longest = log.prompts[int(log.latency_s[:, 0].argmax())]
    replies: list[Reply] = []
    with GatewayProcess(tree, tmp_path, grace_s=1) as gateway:
        waiting = threading.Thread(
            target=lambda: replies.append(gateway.ask("POST", "/v1/chat/completions", chat_body("atlas-large")))
        )
        waiting.start()
        with open_stream(gateway, chat_body("slow", longest, stream=True)) as answer:
            assert answer.readline().startswith(b"data: ")
            assert eventually(lambda: in_flight(gateway) == 2)
            gateway.send(signal.SIGTERM)
            rest = answer.read()
        waiting.join()
        status = gateway.finish()

    assert [(reply.status, reply.error["code"]) for reply in replies] == [(503, "stopping")]
    assert b"[DONE]" not in rest
    assert json.loads(rest.rpartition(b"data: ")[2])["error"]["code"] == "stopping"
    assert status == 0
    assert "Traceback" not in gateway.log
    with closing(SQLiteStore(path=tmp_path / "m.db")) as store:
        ended = [outcome.status for decision in store.decisions() for outcome in decision.outcomes]
    assert ended == ["cancelled", "cancelled"]


def test_a_restart_goes_on_with_what_was_learned_and_with_the_pool(pool: PlaybackServer, tmp_path: Path) -> None:
    tree = config_tree(pool, tmp_path / "m.db", SHORT)
    added = entry(msgspec.structs.replace(pool.llm_specs()[2], name="added", model="cobalt-coder"))
    with GatewayProcess(tree, tmp_path) as gateway:
        gateway.ask("POST", "/v1/llms", added)
        gateway.ask("DELETE", "/v1/llms/ember-mini")
        inference_id = ""
        for turn in range(6):
            model = ("atlas-large", "added")[turn % 2]
            inference_id = gateway.ask("POST", "/v1/chat/completions", chat_body(model)).inference_id
            gateway.ask("POST", "/v1/feedback", {"inference_id": inference_id, "value": turn % 3 == 0})
        gateway.send(signal.SIGTERM)
        assert gateway.finish() == 0
    with closing(SQLiteStore(path=tmp_path / "m.db")) as store:
        checkpoint = store.load_state()
    with GatewayProcess(tree, tmp_path) as again:
        kept = judgements(again)
        forecast = again.ask("POST", "/v1/route", chat_body()).json
        answered = again.ask("POST", "/v1/chat/completions", chat_body("added"))
        before = again.ask("GET", f"/v1/decisions/{inference_id}").json
        again.send(signal.SIGTERM)
        assert again.finish() == 0

    assert checkpoint is not None
    assert checkpoint.position > 0
    assert kept == {"atlas-large": 3, "added": 3}
    assert {candidate["llm"] for candidate in forecast["candidates"]} == {"atlas-large", "added"}
    assert answered.status == 200
    assert (len(before["outcomes"]), len(before["feedback"])) == (1, 1)
    assert gateway.log == again.log == ""


def test_a_kill_loses_and_repeats_no_acknowledged_feedback(pool: PlaybackServer, tmp_path: Path) -> None:
    tree = config_tree(pool, tmp_path / "m.db", SHORT, learning={"checkpoint_interval_s": 0.05})
    acknowledged: list[str] = []
    enough = threading.Event()

    def judge(gateway: GatewayProcess, ids: list[str]) -> None:
        for inference_id in ids:
            with contextlib.suppress(OSError, http.client.HTTPException):
                reply = gateway.ask("POST", "/v1/feedback", {"inference_id": inference_id, "value": True})
                assert reply.json["duplicate"] is False
                acknowledged.append(inference_id)
            if len(acknowledged) >= 60:
                enough.set()

    with GatewayProcess(tree, tmp_path) as gateway:
        ids = [gateway.ask("POST", "/v1/route", chat_body("ember-mini")).json["decision_id"] for _ in range(200)]
        threads = [threading.Thread(target=judge, args=(gateway, ids[start::4])) for start in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(20)
        gateway.send(signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert gateway.finish() == -signal.SIGKILL

    assert 60 <= len(acknowledged) < len(ids)
    with Gateway(parse_config(json.dumps(tree))) as again:
        stored = again.router.store.counts()["feedback"]
        learned = again.status_of("ember-mini")["judgements"]
        repeated = [again.judge(inference_id, value=True).json["duplicate"] for inference_id in acknowledged]
        others = sorted(set(ids) - set(acknowledged))
        sent_now = [again.judge(inference_id, value=True).json["duplicate"] for inference_id in others]
    with Gateway(parse_config(json.dumps(tree))) as last:
        finally_stored = last.router.store.counts()["feedback"]
        finally_learned = last.status_of("ember-mini")["judgements"]

    assert len(acknowledged) <= stored <= len(ids)
    assert learned == stored
    assert all(repeated)
    assert sum(sent_now) == stored - len(acknowledged)
    assert finally_stored == finally_learned == len(ids)


def test_a_taken_port_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        config = parse_config(json.dumps({"gateway": {"port": port}, "store": {"path": str(tmp_path / "m.db")}}))

        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            serve(config)

    assert not (tmp_path / "m.db").exists()


def test_connections_are_refused_until_somebody_accepts_them() -> None:
    # A gateway that waits for its database must not keep requests waiting that another one would take.
    with listen("127.0.0.1", 0) as listener, socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(listener.getsockname())


def test_a_host_that_is_not_there_is_refused(tmp_path: Path) -> None:
    tree = {"gateway": {"host": "no.such.host.invalid", "api_keys": ["k"]}, "store": {"path": str(tmp_path / "m.db")}}

    with pytest.raises(ConfigError, match="cannot listen on"):
        serve(parse_config(json.dumps(tree)))
