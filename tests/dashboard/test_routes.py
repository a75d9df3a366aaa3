"""The page and its data, as a gateway serves them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.dashboard.decided import NOW_S, decided, keep
from tests.gateway.running import Gateway, Reply, config_for
from tests.small_router import small_router

from mixllm.dashboard.reports import Reports
from mixllm.playback import PlaybackServer
from mixllm.store import MemoryStore

CHIEF, CHATTER = "sk-chief-" + "c" * 32, "sk-chatter-" + "d" * 32


@pytest.fixture(scope="module")
def gateway(pool: PlaybackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    keys = [
        {"name": "chief", "key": CHIEF, "scopes": ["admin"]},
        {"name": "chatter", "key": CHATTER, "scopes": ["chat", "feedback", "metrics"]},
    ]
    config = config_for(
        pool,
        tmp_path_factory.mktemp("dashboard") / "mixllm.db",
        gateway={"keys": keys},
        budget={"period": "day", "usd": 5},
        encoder={"kind": "hashing"},
    )
    with Gateway(config) as running:
        for number in range(4):
            reply = ask(running, "/v1/chat/completions", CHATTER, f"What is {number} plus {number}? My secret: xyzzy.")
            assert reply.status == 200
            judgement = {"inference_id": reply.inference_id, "value": 0.25 * number}
            told = running.ask("POST", "/v1/feedback", judgement, {"authorization": f"Bearer {CHATTER}"})
            assert told.status == 200, told.body
        running.router.learn()
        yield running


def ask(gateway: Gateway, path: str, key: str | None, text: str | None = None) -> Reply:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    if text is None:
        return gateway.ask("GET", path, headers=headers)
    body = {"model": "mixllm/auto", "messages": [{"role": "user", "content": text}]}
    return gateway.ask("POST", path, body, headers)


def test_the_data_tell_the_report_the_router_and_the_newest_decisions(gateway: Gateway) -> None:
    reply = ask(gateway, "/dashboard/data?since=1h", CHIEF)
    assert reply.status == 200, reply.body
    assert reply.headers["cache-control"] == "no-store"
    data = reply.json
    assert (data["since"], data["report"]["decisions"], data["report"]["answered"]) == ("1h", 4, 4)
    assert data["report"]["quality"]["mean"] == pytest.approx(0.375)
    assert data["report"]["feedback"]["by_source"] == {"user": 4}
    assert sum(one["decisions"] for one in data["report"]["llms"].values()) == 4
    assert data["report"]["to_s"] - data["report"]["from_s"] == pytest.approx(3600)
    router = data["router"]
    assert [one["name"] for one in router["llms"]] == [spec.name for spec in gateway.router.llms]
    assert {one["breaker"]["state"] for one in router["llms"]} == {"closed"}
    assert router["learning"]["vitals"]["running"] is True
    assert router["learning"]["vitals"]["feedback"] == 4
    assert router["budget"]["total"]["limit_usd"] == 5
    newest = data["newest"]
    assert len(newest) == 4
    assert [one["created_at_s"] for one in newest] == sorted((one["created_at_s"] for one in newest), reverse=True)
    assert newest[0]["status"] == "ok"
    assert newest[0]["reason"]
    assert newest[0]["quality"] == 0.75
    assert b"xyzzy" not in reply.body


def test_a_day_is_shown_where_no_period_is_named(gateway: Gateway) -> None:
    assert ask(gateway, "/dashboard/data", CHIEF).json["since"] == "24h"


def test_what_is_no_period_is_refused_in_the_gateway_s_own_shape(gateway: Gateway) -> None:
    reply = ask(gateway, "/dashboard/data?since=yesterday", CHIEF)
    assert reply.status == 400
    assert reply.error["param"] == "since"


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("sk-wrong", 401), (CHATTER, 403), (CHIEF, 200)])
def test_the_data_need_the_scope_admin(gateway: Gateway, key: str | None, status: int) -> None:
    assert ask(gateway, "/dashboard/data", key).status == status


def test_the_page_is_open_and_brings_in_nothing(gateway: Gateway) -> None:
    reply = ask(gateway, "/dashboard", None)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    page = reply.body.decode()
    for name in (spec.name for spec in gateway.router.llms):
        assert name not in page
    for outside in ("//cdn", 'src="', "@import", "innerHTML", "<script src", " style="):
        assert outside not in page, outside
    assert gateway.ask("POST", "/dashboard", {}).status == 405


def test_without_keys_the_data_answer_loopback_alone(pool: PlaybackServer, tmp_path: Path) -> None:
    config = config_for(pool, tmp_path / "mixllm.db", encoder={"kind": "hashing"})
    with Gateway(config) as gateway:
        assert gateway.ask("GET", "/dashboard/data").status == 200
        assert gateway.ask("GET", "/dashboard/data", headers={"host": "evil.example"}).status == 403
        empty = gateway.ask("GET", "/dashboard/data").json
    assert (empty["report"]["decisions"], empty["newest"], empty["router"]["budget"]) == (0, [], None)
    assert json.dumps(empty).isascii()


async def test_a_report_is_kept_for_a_while_and_only_so_many_are() -> None:
    store = MemoryStore()
    keep(store, [decided("small", at_s=NOW_S)])
    with small_router(store=store) as router:
        reports = Reports(router)
        first, again = await asyncio.gather(reports.report("all"), reports.report("all"))
        assert first.decisions == 1
        keep(store, [decided("small", at_s=NOW_S + 1)])
        assert again is first
        assert (await reports.report("all")) is first
        for hours in range(1, 9):
            await reports.report(f"{hours}h")
        assert (await reports.report("all")).decisions == 2
        assert not Reports(router, most=1)._read(None).complete
