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
from tests.gateway.running import GatewayProcess, Reply, chat_body, config_tree, entry

from mixllm.config import parse_config
from mixllm.errors import ConfigError
from mixllm.gateway.serve import serve
from mixllm.playback import AnswerBook, PlaybackServer

SHORT = ["atlas-large", "ember-mini"]


@pytest.fixture(scope="module")
def slow_pool(book: AnswerBook) -> Iterator[PlaybackServer]:
    """LLMs whose streams take about a second."""
    with PlaybackServer(book, time_scale=0.5) as running:
        yield running


def judgements(gateway: GatewayProcess) -> dict[str, float]:
    listed = gateway.ask("GET", "/v1/llms").json["llms"]
    return {status["spec"]["name"]: status["judgements"] for status in listed}


def learning(gateway: GatewayProcess) -> dict[str, int]:
    counts: dict[str, int] = gateway.ask("GET", "/health/ready").json["learning"]
    return counts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_open_stream_end_and_keeps_everything(
    slow_pool: PlaybackServer, tmp_path: Path, number: signal.Signals
) -> None:
    tree = config_tree(slow_pool, tmp_path / "m.db", SHORT, max_commit_delay_s=5)
    with GatewayProcess(tree, tmp_path) as gateway:
        address = urlsplit(gateway.url)
        with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)) as connection:
            body = json.dumps(chat_body("atlas-large", stream=True)).encode()
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            first = answer.readline()
            gateway.send(number)
            rest = answer.read()
        status = gateway.finish()

    assert first.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert status == 0
    assert gateway.log == ""
    with GatewayProcess(tree, tmp_path) as again:
        known = again.ask("GET", f"/v1/decisions/{answer.headers['x-mixllm-inference-id']}").json
    assert [outcome["status"] for outcome in known["outcomes"]] == ["ok"]


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
    with GatewayProcess(tree, tmp_path) as again:
        kept = judgements(again)
        forecast = again.ask("POST", "/v1/route", chat_body()).json
        answered = again.ask("POST", "/v1/chat/completions", chat_body("added"))
        before = again.ask("GET", f"/v1/decisions/{inference_id}").json
        again.send(signal.SIGTERM)
        assert again.finish() == 0

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
        ids = [gateway.ask("POST", "/v1/route", chat_body("ember-mini")).json["decision_id"] for _ in range(400)]
        threads = [threading.Thread(target=judge, args=(gateway, ids[start::4])) for start in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(20)
        gateway.send(signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert gateway.finish() == -signal.SIGKILL

    assert 60 <= len(acknowledged) < len(ids)
    with GatewayProcess(tree, tmp_path) as again:
        stored = stored_feedback(again)
        learned = judgements(again)
        repeated = [send(again, inference_id) for inference_id in acknowledged]
        rest = [send(again, inference_id) for inference_id in ids if inference_id not in set(acknowledged)]
        again.send(signal.SIGTERM)
        assert again.finish() == 0
    with GatewayProcess(tree, tmp_path) as last:
        finally_stored, finally_learned = stored_feedback(last), judgements(last)

    assert len(acknowledged) <= stored <= len(ids)
    assert learned["ember-mini"] == stored
    assert all(reply.json["duplicate"] is True for reply in repeated)
    assert sum(reply.json["duplicate"] for reply in rest) == stored - len(acknowledged)
    assert finally_stored == len(ids)
    assert finally_learned["ember-mini"] == len(ids)


def send(gateway: GatewayProcess, inference_id: str) -> Reply:
    return gateway.ask("POST", "/v1/feedback", {"inference_id": inference_id, "value": True})


def stored_feedback(gateway: GatewayProcess) -> int:
    lines = gateway.ask("GET", "/metrics").body.decode().splitlines()
    (line,) = [line for line in lines if line.startswith('mixllm_store_rows{kind="feedback"}')]
    return int(float(line.rpartition(" ")[2]))


def test_a_taken_port_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        config = parse_config(json.dumps({"gateway": {"port": port}, "store": {"path": str(tmp_path / "m.db")}}))

        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
            serve(config)

    assert not (tmp_path / "m.db").exists()


def test_a_host_that_is_not_there_is_refused(tmp_path: Path) -> None:
    tree = {"gateway": {"host": "no.such.host.invalid", "api_keys": ["k"]}, "store": {"path": str(tmp_path / "m.db")}}

    with pytest.raises(ConfigError, match="cannot listen on"):
        serve(parse_config(json.dumps(tree)))
