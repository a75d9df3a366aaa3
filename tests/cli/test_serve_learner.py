"""``mixllm serve`` and the process that learns for it: one for all workers, started again when it dies, ended last."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.cli.running import LIMIT_S, Serving, invoke, pool_config, refusal
from tests.gateway.running import ask
from tests.postgres_server import Server

from mixllm.playback import PlaybackServer
from mixllm.store import PostgresStore

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="children of a process are looked up as Linux tells them"
)


def send(url: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    answer = ask(url, method, path, body)
    return answer.status, answer.json


def eventually(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def judge(url: str, text: str) -> None:
    """Ask for an answer and praise it."""
    body = {"model": "mixllm/auto", "messages": [{"role": "user", "content": text}]}
    answer = ask(url, "POST", "/v1/chat/completions", body)
    assert answer.status == 200, answer.body
    assert ask(url, "POST", "/v1/feedback", {"inference_id": answer.inference_id, "value": True}).status == 200


def judgements(url: str) -> float:
    return float(sum(llm["judgements"] for llm in send(url, "GET", "/v1/llms")[1]["llms"]))


def learners(pid: int) -> list[int]:
    """Return the processes that learn for the one with this id."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    ids = [int(child) for children_of in children for child in children_of.read_text().split()]
    return [child for child in ids if b"\0--learn\0" in Path(f"/proc/{child}/cmdline").read_bytes()]


def learner(pid: int) -> int:
    assert eventually(lambda: len(learners(pid)) == 1)
    return learners(pid)[0]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def position(path: Path) -> int:
    with closing(sqlite3.connect(path)) as kept:
        (found,) = kept.execute("SELECT coalesce(max(position), 0) FROM states").fetchone()
        return int(found)


@pytest.mark.parametrize("workers", [1, 2])
def test_one_process_learns_for_all_and_ends_last(pool: PlaybackServer, tmp_path: Path, workers: int) -> None:
    path = pool_config(pool, tmp_path / "m.yaml")
    with Serving(["serve", "-c", str(path), "--workers", str(workers)]) as gateway:
        url, child = gateway.url, learner(gateway.said["pid"])
        for number in range(6):
            judge(url, f"question {number}")
        assert eventually(lambda: {judgements(url) for _ in range(4 * workers)} == {6.0})
        state = send(url, "GET", "/health/ready")[1]
        assert (state["status"], state["learning"]["running"]) == ("ready", True)
        assert state["learning"]["feedback"] == state["learning"]["outcomes"] == 6
        judge(url, "the last one")
        assert gateway.end(signal.SIGTERM) == 0
        assert not alive(child)
    assert "Traceback" not in gateway.stderr
    assert position(tmp_path / "m.db") == 14, "also what was said last is learned and kept"


def test_it_learns_from_postgresql_too(pool: PlaybackServer, tmp_path: Path, postgres: Server) -> None:
    schema, spool = postgres.schema(), str(tmp_path / "spool")
    store = {"kind": "postgres", "url": postgres.url, "schema": schema, "spool": spool}
    path = pool_config(pool, tmp_path / "m.yaml", store=store)
    with Serving(["serve", "-c", str(path), "--workers", "2"]) as gateway:
        child = learner(gateway.said["pid"])
        for number in range(6):
            judge(gateway.url, f"question {number}")
        assert eventually(lambda: {judgements(gateway.url) for _ in range(8)} == {6.0})
        assert gateway.end(signal.SIGTERM) == 0
        assert not alive(child)
    assert "Traceback" not in gateway.stderr
    with closing(PostgresStore(url=postgres.url, schema=schema, spool=Path(spool))) as kept:
        assert [state.position for state in kept.states()][-1:] == [12]


def test_one_that_dies_is_started_again_and_requests_never_notice(pool: PlaybackServer, tmp_path: Path) -> None:
    path = pool_config(pool, tmp_path / "m.yaml")
    with Serving(["serve", "-c", str(path)]) as gateway:
        url, pid = gateway.url, gateway.said["pid"]
        child = learner(pid)
        judge(url, "before")
        assert eventually(lambda: judgements(url) == 1.0)
        os.kill(child, signal.SIGKILL)
        judge(url, "meanwhile")
        assert send(url, "GET", "/health/ready")[1]["status"] == "ready"
        spec = {"name": "late", "api_base": "http://127.0.0.1:9/v1"}
        price = {"usd_per_million_tokens_in": 1.0, "usd_per_million_tokens_out": 1.0}
        assert send(url, "POST", "/v1/llms", {**spec, "price": price})[0] == 201, "it waits for the next one"
        assert send(url, "GET", "/v1/llms/late")[0] == 200
        assert judgements(url) == 2.0
        assert learner(pid) != child
        assert gateway.end(signal.SIGTERM) == 0
    assert "the process that learns ended with code -9 and is started again" in gateway.stderr
    assert position(tmp_path / "m.db") == 4


def test_it_ends_with_its_parent_and_learns_what_is_left(pool: PlaybackServer, tmp_path: Path) -> None:
    path = pool_config(pool, tmp_path / "m.yaml")
    with Serving(["serve", "-c", str(path)]) as gateway:
        child = learner(gateway.said["pid"])
        judge(gateway.url, "once")
        os.kill(child, signal.SIGTERM)  # As a whole group may be told to end: its parent goes on, and so does it.
        os.kill(child, signal.SIGHUP)
        judge(gateway.url, "twice")
        assert learner(gateway.said["pid"]) == child
        gateway.end(signal.SIGKILL)
        assert eventually(lambda: not alive(child))
    assert position(tmp_path / "m.db") == 4


def test_a_rollback_over_http_reaches_every_worker(pool: PlaybackServer, tmp_path: Path) -> None:
    path = pool_config(pool, tmp_path / "m.yaml", learning={"checkpoint_interval_s": 0.2})
    with Serving(["serve", "-c", str(path), "--workers", "2"]) as gateway:
        url = gateway.url
        judge(url, "one")
        assert eventually(lambda: position(tmp_path / "m.db") == 2)
        first = send(url, "GET", "/v1/state")[1]["states"][-1]["version"]
        judge(url, "two")
        assert eventually(lambda: position(tmp_path / "m.db") == 4)
        assert send(url, "POST", "/v1/state/rollback", {"version": 99_999})[0] == 409
        assert send(url, "POST", "/v1/state/rollback", {"version": first})[0] == 200
        assert eventually(lambda: {judgements(url) for _ in range(12)} == {1.0})


def test_without_it_the_gateway_learns_itself(pool: PlaybackServer, tmp_path: Path) -> None:
    path = pool_config(pool, tmp_path / "m.yaml", learning={"process": False})
    with Serving(["serve", "-c", str(path)]) as gateway:
        judge(gateway.url, "one")
        assert eventually(lambda: judgements(gateway.url) == 1.0)
        assert learners(gateway.said["pid"]) == []


def test_a_store_in_memory_cannot_be_shared_with_it(pool: PlaybackServer, tmp_path: Path) -> None:
    store = {"kind": "memory"}
    path = pool_config(pool, tmp_path / "m.yaml", store=store, learning={"process": True})
    told = refusal(invoke("serve", "-c", str(path)))
    assert "learning.process: it needs a store that processes can share" in told
    path = pool_config(pool, tmp_path / "m.yaml", store=store)
    with Serving(["serve", "-c", str(path)]) as gateway:
        assert learners(gateway.said["pid"]) == []
