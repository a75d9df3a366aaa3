"""Gateways on one PostgreSQL database: one pool, one model; and the database goes away in the middle of traffic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from tests.gateway.running import Gateway, config_tree, eventually
from tests.postgres_server import Server, running_server

from mixllm.config import parse_config
from mixllm.conformance.store_samples import sample_record
from mixllm.gateway.elsewhere import kept_while_away
from mixllm.playback import PlaybackServer
from mixllm.store import PostgresStore

PASSWORD = "a-very-secret-password"


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server that is stopped and started."""
    with running_server() as server:
        yield server


@pytest.fixture
def gateways(own_server: Server, pool: PlaybackServer, tmp_path: Path) -> Iterator[list[Gateway]]:
    url = own_server.url.replace("postgres:@", f"postgres:{PASSWORD}@")
    store = {"url": "os.environ/DATABASE", "schema": own_server.schema(), "spool": str(tmp_path / "spool")}
    tree = {**config_tree(pool, tmp_path / "unused.db", [spec.name for spec in pool.llm_specs()[:2]]), "store": store}
    config = parse_config(json.dumps(tree))
    with ExitStack() as stack:
        yield [stack.enter_context(Gateway(config, environ={"DATABASE": url})) for _ in range(3)]
        own_server.start()


def metric(gateway: Gateway, name: str) -> float:
    lines = gateway.ask("GET", "/metrics").body.decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


def test_a_change_of_the_pool_is_seen_by_all(gateways: list[Gateway], pool: PlaybackServer) -> None:
    first, second, third = gateways
    new = next(spec for spec in pool.llm_specs() if spec.name not in first.ask("GET", "/v1/llms").body.decode())
    body = msgspec.to_builtins(new)
    seen: Callable[[Gateway], int] = lambda gateway: gateway.ask("GET", f"/v1/llms/{new.name}").status  # noqa: E731
    assert second.ask("POST", "/v1/llms", body).status == 201
    assert seen(second) == 200
    assert eventually(lambda: all(seen(gateway) == 200 for gateway in gateways))
    assert third.chat(new.name).status == 200
    assert third.ask("PATCH", f"/v1/llms/{new.name}", {"max_in_flight": 3}).status == 200
    assert eventually(
        lambda: first.ask("GET", f"/v1/llms/{new.name}").json["spec"]["max_in_flight"] == 3,
    )
    assert first.ask("DELETE", f"/v1/llms/{new.name}").status == 200
    assert eventually(lambda: all(seen(gateway) == 404 for gateway in gateways))


def test_routing_goes_on_while_the_database_is_away(
    gateways: list[Gateway], own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = gateways
    before = [first.chat().inference_id for _ in range(5)]
    assert first.judge(before[0], value=True).status == 200
    assert second.judge(before[0], value=True).json["duplicate"] is True, (
        "it knows the other one's decision and judgement"
    )
    own_server.stop()
    assert eventually(lambda: first.ask("GET", "/health/ready").json["status"] == "degraded")
    during = [first.chat() for _ in range(20)]
    assert {reply.status for reply in during} == {200}
    assert {first.judge(reply.inference_id, value=0.5).status for reply in during} == {200}
    assert first.judge(before[1], value=True).status == 200, "of a call before, too"
    ready = first.ask("GET", "/health/ready")
    assert ready.status == 200
    assert "cannot be reached" in ready.json["warnings"][0]
    assert ready.json["store"]["spooled"] == 20 * 3 + 1
    assert (metric(first, "mixllm_store_up"), metric(first, "mixllm_store_spooled")) == (0.0, 61.0)
    refused = first.ask("DELETE", f"/v1/llms/{first.router.llms[0].name}")
    assert (refused.status, refused.error["code"]) == (503, "store_unavailable")
    own_server.start()
    assert eventually(lambda: first.ask("GET", "/health/ready").json["status"] == "ready")
    # 25 calls, and the judgements: 1 before, 20 of calls in the outage, 1 of a call before it.
    assert eventually(lambda: all(metric(gateway, "mixllm_learning_position") == 25 + 22 for gateway in gateways))
    assert metric(first, "mixllm_store_up") == 1.0
    assert second.ask("GET", f"/v1/decisions/{during[0].inference_id}").status == 200
    said = caplog.text + first.ask("GET", "/metrics").body.decode() + ready.body.decode()
    assert PASSWORD not in said


def test_while_the_database_is_away_a_decision_is_on_the_disk_before_its_answer_is_sent(
    own_server: Server, tmp_path: Path
) -> None:
    schema, spool = own_server.schema(), tmp_path / "spool"
    store = PostgresStore(url=own_server.url, schema=schema, spool=spool, max_commit_delay_s=30.0)
    try:
        asyncio.run(kept_while_away(store))
        own_server.stop()
        assert eventually(lambda: store.health().problem is not None)
        store.append_decision(sample_record(1))
        assert store.health().spooled == 0

        asyncio.run(kept_while_away(store))

        assert store.health().spooled == 1
    finally:
        own_server.start()
        store.close()
