"""``mixllm serve --workers``: several processes behind one address."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.cli.running import LIMIT_S, Serving, pool_config, run

from mixllm.cli.gateway_api import exchange
from mixllm.playback import PlaybackServer

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers share a socket and a file as POSIX has them")


def send(url: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    content = None if body is None else json.dumps(body).encode()
    answer = exchange(
        f"{url}{path}", method=method, body=content, headers={"Content-Type": "application/json"}, timeout_s=LIMIT_S
    )
    return answer.status, answer.body


def eventually(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def pids(url: str) -> set[int]:
    """Return the workers that answer."""
    found = set[int]()
    for _ in range(16):
        _, metrics = send(url, "GET", "/metrics")
        found.update(int(pid) for pid in re.findall(r'mixllm_worker{pid="(\d+)"}', metrics.decode()))
    return found


def ask(url: str, text: str) -> str:
    """Return the id of a decision whose answer has come, asked for in OpenAI's shape over a connection of its own."""
    body = {"model": "mixllm/auto", "messages": [{"role": "user", "content": text}]}
    status, answer = send(url, "POST", "/v1/route", body)
    assert status == 200, answer
    return str(json.loads(answer)["decision_id"])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_share_learning_pool_and_end(pool: PlaybackServer, tmp_path: Path) -> None:
    store = {"path": str(tmp_path / "m.db"), "max_commit_delay_s": 0.2}
    path = pool_config(pool, tmp_path / "m.yaml", store=store)
    with Serving(["serve", "-c", str(path), "--workers", "2"]) as gateway:
        url = gateway.url
        workers = pids(url)
        assert len(workers) == 2

        # Half of this feedback reaches a worker that has not made the decision, and cannot see it yet.
        for number in range(12):
            decision_id = ask(url, f"question {number}")
            assert send(url, "POST", "/v1/feedback", {"inference_id": decision_id, "value": True})[0] == 200
        unknown = {"inference_id": "018f0000-0000-7000-8000-000000000000", "value": True}
        assert send(url, "POST", "/v1/feedback", unknown)[0] == 404

        spec = {"name": "late", "api_base": "http://127.0.0.1:9/v1"}
        price = {"usd_per_million_tokens_in": 1.0, "usd_per_million_tokens_out": 1.0}
        assert send(url, "POST", "/v1/llms", {**spec, "price": price})[0] == 201
        time.sleep(0.8)
        assert {send(url, "GET", "/v1/llms/late")[0] for _ in range(20)} == {200}
        assert send(url, "DELETE", "/v1/llms/late")[0] == 200
        time.sleep(0.8)
        assert {send(url, "GET", "/v1/llms/late")[0] for _ in range(20)} == {404}

        def judgements() -> set[float]:
            listed = [json.loads(send(url, "GET", "/v1/llms")[1])["llms"] for _ in range(20)]
            return {round(sum(llm["judgements"] for llm in llms), 3) for llms in listed}

        assert eventually(lambda: len(judgements()) == 1)
        assert judgements() != {0.0}
        shown = json.loads(send(url, "GET", "/dashboard/data?since=1h")[1])
        assert (shown["report"]["decisions"], shown["router"]["workers"]) == (12, 2)
        assert gateway.end(signal.SIGTERM) == 0
    assert not any(alive(pid) for pid in workers)
    assert "Traceback" not in gateway.stderr
    with closing(sqlite3.connect(tmp_path / "m.db")) as kept:
        assert kept.execute("SELECT count(*) FROM decisions").fetchone() == (12,)
        assert kept.execute("SELECT count(*) FROM events").fetchone() == (12,)
        assert kept.execute("SELECT max(position) FROM states").fetchone() == (12,)


def test_a_worker_that_dies_is_replaced_and_the_rest_ends_with_the_parent(pool: PlaybackServer, tmp_path: Path) -> None:
    path = pool_config(pool, tmp_path / "m.yaml")
    with Serving(["serve", "-c", str(path), "--workers", "2"]) as gateway:
        url = gateway.url
        before = pids(url)
        os.kill(min(before), signal.SIGKILL)
        assert eventually(lambda: len(pids(url) | before) == 3)
        after = pids(url)
        assert eventually(lambda: b"mixllm_workers 2.0" in send(url, "GET", "/metrics")[1])
        gateway.end(signal.SIGKILL)
        assert eventually(lambda: not any(alive(pid) for pid in after))
    assert "is started again" in gateway.stderr


def test_workers_share_the_rate_of_a_key(pool: PlaybackServer, tmp_path: Path) -> None:
    keys = [{"name": "a", "key": "k" * 40, "requests_per_minute": 4, "scopes": ["chat"]}]
    path = pool_config(pool, tmp_path / "m.yaml", gateway={"keys": keys, "port": 0})
    with Serving(["serve", "-c", str(path), "--workers", "2"]) as gateway:
        statuses = [
            exchange(
                f"{gateway.url}/v1/models",
                method="GET",
                headers={"Authorization": f"Bearer {'k' * 40}"},
                timeout_s=LIMIT_S,
            ).status
            for _ in range(20)
        ]
    assert statuses.count(200) in {4, 5}, "a bucket of four, and what the seconds may have added"
    assert statuses.count(429) == 20 - statuses.count(200)


def reloaded(url: str) -> set[int]:
    """Return the workers that have read their configuration again."""
    texts = [send(url, "GET", "/metrics")[1].decode() for _ in range(16)]
    done = [text for text in texts if re.search(r'mixllm_config_reloads_total{result="applied"} [1-9]', text)]
    return {int(pid) for text in done for pid in re.findall(r'mixllm_worker{pid="(\d+)"}', text)}


def trade_off(url: str) -> float:
    """Return the λ that the worker decides with which happens to answer."""
    body = {"model": "mixllm/auto", "messages": [{"role": "user", "content": "hi"}]}
    return float(json.loads(send(url, "POST", "/v1/route", body)[1])["trade_off"])


def test_a_hangup_reaches_every_worker_also_one_that_has_just_begun(pool: PlaybackServer, tmp_path: Path) -> None:
    sections: dict[str, Any] = {"store": {"path": str(tmp_path / "m.db")}}
    path = pool_config(pool, tmp_path / "m.yaml", routing={"lambda": 2}, **sections)
    with Serving(["serve", "-c", str(path), "--workers", "2"]) as gateway:
        before = pids(gateway.url)
        pool_config(pool, path, routing={"lambda": 7}, **sections)
        gateway.send(signal.SIGHUP)
        assert eventually(lambda: reloaded(gateway.url) == before)
        assert {trade_off(gateway.url) for _ in range(16)} == {7.0}

        os.kill(min(before), signal.SIGKILL)
        pool_config(pool, path, routing={"lambda": 5}, **sections)

        def hangup_until_replaced() -> bool:
            gateway.send(signal.SIGHUP)
            return len(pids(gateway.url) | before) == 3

        assert eventually(hangup_until_replaced)
        assert eventually(lambda: reloaded(gateway.url) == pids(gateway.url))
        assert {trade_off(gateway.url) for _ in range(16)} == {5.0}
        assert gateway.end(signal.SIGTERM) == 0
    assert gateway.stderr.count("is started again") == 1, gateway.stderr
    assert "Traceback" not in gateway.stderr


def test_what_is_wrong_is_said_once_and_ends_it(pool: PlaybackServer, tmp_path: Path) -> None:
    path = pool_config(pool, tmp_path / "m.yaml", store={"kind": "memory"})
    done = run("serve", "-c", str(path), "--workers", "2")
    assert done.returncode != 0
    assert "gateway.workers" in done.stderr
    broken = pool_config(pool, tmp_path / "b.yaml", store={"path": str(tmp_path / "missing" / "m.db")})
    done = run("serve", "-c", str(broken), "--workers", "2")
    assert done.returncode != 0
    assert "missing" in done.stderr
