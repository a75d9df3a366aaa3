"""An upstream that is killed: streams under way end cleanly, further requests are answered by the rest of the pool."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
from tests.gateway.running import Gateway, GatewayProcess, chat_body, config_for, config_tree, eventually

from mixllm.playback import AnswerBook, PlaybackServer
from mixllm.store import SQLiteStore
from mixllm.types import LLMSpec, Price

MODEL = "atlas-large"
FREE = Price(usd_per_million_tokens_in=0, usd_per_million_tokens_out=0)


@contextmanager
def upstream_process(time_scale: float) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the playback server in a process of its own; give the process and its base URL."""
    command = [sys.executable, "-m", "mixllm", "playback", "--queries", "40", "--seed", "5", "--port", "0", "--json"]
    with subprocess.Popen(
        [*command, "--time-scale", str(time_scale)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            process.kill()


def test_a_stream_whose_upstream_is_killed_ends_with_an_error_and_the_next_request_falls_back(
    playback: PlaybackServer, tmp_path: Path
) -> None:
    calls = {"breaker": {"failures": 2}}
    config = config_for(
        playback, tmp_path / "m.db", ["ember-mini"], calls=calls, routing={"policy": {"name": "greedy"}}
    )
    with Gateway(config) as gateway, upstream_process(1.0) as (process, url):
        base = url if url.endswith("/v1") else f"{url}/v1"
        doomed = LLMSpec(name="doomed", model=MODEL, api_base=base, price=FREE, public_score=1.0)
        with (
            gateway.with_llm(doomed),
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0, timeout=20) as client,
        ):
            stream = client.chat.completions.create(**chat_body("doomed", stream=True))
            first = next(iter(stream))
            process.kill()
            process.wait()
            with pytest.raises(openai.APIError) as broken:
                list(stream)
            assert eventually(lambda: gateway.in_flight() == 0)
            gateway.router.store.flush()
            (newest,) = gateway.router.store.decisions(limit=1)
            replies = [gateway.chat() for _ in range(4)]

    assert first.model == "doomed"
    assert broken.value.code == "upstream_error"
    assert [outcome.status for outcome in newest.outcomes] == ["broken_stream"]
    assert {reply.status for reply in replies} == {200}
    assert {reply.headers["x-mixllm-model"] for reply in replies} == {"ember-mini"}
    assert replies[-1].headers["x-mixllm-attempts"] == "1", "after two failures it is left alone"


def test_a_gateway_that_is_told_to_stop_finishes_all_its_streams(book: AnswerBook, tmp_path: Path) -> None:
    """Thirty streams and ten plain calls are under way when SIGTERM comes: all end whole, and all are recorded."""
    bodies: list[bytes] = []
    ids: list[str] = []

    def ask(*, stream: bool) -> None:
        address = urlsplit(gateway.url)
        with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)) as connection:
            body = json.dumps(chat_body(MODEL, stream=stream)).encode()
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            ids.append(answer.headers["x-mixllm-inference-id"] or "")
            bodies.append(answer.read())

    with PlaybackServer(book, time_scale=0.5) as slow:
        tree = config_tree(slow, tmp_path / "m.db", [MODEL], max_commit_delay_s=5)
        with GatewayProcess(tree, tmp_path) as gateway:
            threads = [threading.Thread(target=ask, kwargs={"stream": turn % 4 > 0}) for turn in range(40)]
            for thread in threads:
                thread.start()
            assert eventually(lambda: slow.counts["requests"] == 40)
            gateway.send(signal.SIGTERM)
            for thread in threads:
                thread.join()
            status = gateway.finish()

    assert (status, gateway.log) == (0, "")
    assert sum(body.endswith(b"data: [DONE]\n\n") for body in bodies) == 30
    assert sum(b'"usage"' in body and b"data:" not in body for body in bodies) == 10
    with closing(SQLiteStore(path=tmp_path / "m.db")) as store:
        assert [store.decision(one).outcomes[0].status for one in ids] == ["ok"] * 40
