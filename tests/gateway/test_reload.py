"""Reading the configuration again: what changes, what does not, and that requests under way go on."""

from __future__ import annotations

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.running import GatewayProcess, chat_body, config_tree, eventually

from mixllm.config import Config, parse_config
from mixllm.gateway.reload import LIVE, changed_keys
from mixllm.playback import PlaybackServer, Slow

CHAT = "/v1/chat/completions"
RELOAD = "/v1/reload"


def metric(gateway: GatewayProcess, line: str) -> bool:
    return line in gateway.ask("GET", "/metrics").body.decode()


def test_the_pool_the_trade_off_and_the_keys_change_while_requests_go_on(
    playback: PlaybackServer, tmp_path: Path
) -> None:
    tree = config_tree(playback, tmp_path / "m.db", ["atlas-large", "boreal-pro"])
    with GatewayProcess(tree, tmp_path) as gateway:
        statuses: list[int] = []
        pools: set[frozenset[str]] = set()
        stop = threading.Event()

        def keep_asking(place: int) -> None:
            while not stop.is_set():
                if place == 0:
                    candidates = gateway.ask("POST", "/v1/route", chat_body()).json["candidates"]
                    pools.add(frozenset(candidate["llm"] for candidate in candidates))
                reply = gateway.ask("POST", CHAT, chat_body(text=f"question {place}", stream=place % 2 == 0))
                statuses.append(reply.status)

        with ThreadPoolExecutor(4) as askers:
            for place in range(4):
                askers.submit(keep_asking, place)
            try:
                for swap in range(10):
                    llms = ["atlas-large", "boreal-pro"] if swap % 2 else ["cobalt-coder", "boreal-pro"]
                    changed = config_tree(playback, tmp_path / "m.db", llms, routing={"lambda": 1.0 + swap})
                    gateway.configure(changed)
                    reply = gateway.ask("POST", RELOAD, {})
                    assert reply.status == 200, reply.body
                    assert set(reply.json["applied"]) == {"model_list", "routing.lambda"}
                    pool = gateway.ask("GET", "/v1/llms").json["llms"]
                    assert sorted(llm["spec"]["name"] for llm in pool) == sorted(llms)
                    decision = gateway.ask("POST", "/v1/route", chat_body()).json
                    assert decision["trade_off"] == 1.0 + swap
            finally:
                stop.set()
        assert len(statuses) > 20
        assert set(statuses) == {200}
        # Never more, and never less, than one of the two files says.
        assert pools <= {frozenset({"atlas-large", "boreal-pro"}), frozenset({"cobalt-coder", "boreal-pro"})}
        assert metric(gateway, 'mixllm_config_reloads_total{result="applied"} 10.0')


def test_a_stream_goes_on_with_an_llm_that_a_reload_removes(playback: PlaybackServer, tmp_path: Path) -> None:
    playback.put_faults("atlas-large", Slow(add_s=1.0))
    tree = config_tree(playback, tmp_path / "m.db", ["atlas-large"])
    with GatewayProcess(tree, tmp_path) as gateway, ThreadPoolExecutor(1) as other:
        answer = other.submit(gateway.ask, "POST", CHAT, chat_body("atlas-large", stream=True))
        assert eventually(lambda: gateway.ask("GET", "/v1/llms/atlas-large").json["in_flight"] == 1)
        gateway.configure(config_tree(playback, tmp_path / "m.db", ["boreal-pro"]))
        assert gateway.ask("POST", RELOAD, {}).json["llms"] == {
            "added": ["boreal-pro"],
            "changed": [],
            "removed": ["atlas-large"],
        }
        assert gateway.ask("POST", CHAT, chat_body("atlas-large")).status == 404
        assert answer.result().body.rstrip().endswith(b"data: [DONE]")


def test_a_broken_file_changes_nothing_and_every_fault_is_told(playback: PlaybackServer, tmp_path: Path) -> None:
    tree = config_tree(playback, tmp_path / "m.db", ["atlas-large"])
    with GatewayProcess(tree, tmp_path) as gateway:
        before = gateway.ask("GET", "/v1/llms").json["llms"][0]["spec"]
        for broken, words in (
            ("routing: {lamda: 3}\nmodel_lst: []\n", ["lamda", "model_lst"]),
            ("routing: [", ["not valid YAML"]),
            (json.dumps({**tree, "gateway": {"api_keys": ["os.environ/NOT_SET_ANYWHERE"]}}), ["NOT_SET_ANYWHERE"]),
            (json.dumps({**tree, "model_list": [{"model_name": "x", "litellm_params": {"model": "y"}}]}), ["api_base"]),
        ):
            gateway.path.write_text(broken)
            reply = gateway.ask("POST", RELOAD, {})
            assert reply.status == 422
            assert reply.error["message"].startswith("Nothing was changed.")
            assert all(word in reply.error["message"] for word in words)
        gateway.path.unlink()
        assert gateway.ask("POST", RELOAD, {}).status == 422
        assert [llm["spec"] for llm in gateway.ask("GET", "/v1/llms").json["llms"]] == [before]
        assert gateway.ask("POST", CHAT, chat_body()).status == 200
        assert metric(gateway, 'mixllm_config_reloads_total{result="refused"} 5.0')
        gateway.send(signal.SIGTERM)
        gateway.finish()
    assert gateway.log.count("was not reloaded, nothing changes") == 5


def test_sighup_reloads_and_is_on_record(playback: PlaybackServer, tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    tree = config_tree(playback, tmp_path / "m.db", ["atlas-large"], gateway={"audit_path": str(audit)})
    with GatewayProcess(tree, tmp_path) as gateway:
        gateway.configure({**tree, "routing": {"lambda": 7}})
        gateway.send(signal.SIGHUP)
        assert eventually(lambda: gateway.ask("POST", "/v1/route", chat_body()).json["trade_off"] == 7)
        gateway.path.write_text("nonsense")
        gateway.send(signal.SIGHUP)
        assert eventually(lambda: audit.read_text().count("\n") == 2)
        assert gateway.ask("POST", CHAT, chat_body()).status == 200
    first, second = (json.loads(line) for line in audit.read_text().splitlines())
    assert (first["action"], first["status"], first["details"]["applied"]) == ("SIGHUP", 200, ["routing.lambda"])
    assert (second["action"], second["status"]) == ("SIGHUP", 422)


def test_keys_limits_and_budgets_change_and_what_needs_a_restart_is_named(
    playback: PlaybackServer, tmp_path: Path
) -> None:
    def tree(key: str, **sections: Any) -> dict[str, Any]:
        settings = {"api_keys": [key], **sections.pop("gateway", {})}
        return config_tree(playback, tmp_path / "m.db", ["atlas-large"], gateway=settings, **sections)

    first, second = {"authorization": "Bearer first"}, {"authorization": "Bearer second"}
    with GatewayProcess(tree("first", budget={"usd": 100}), tmp_path) as gateway:
        answer = gateway.ask("POST", CHAT, chat_body(), first)
        assert answer.status == 200
        gateway.configure(
            {
                **tree("second", budget={"usd": 1e-9}, gateway={"max_body_bytes": 2000}),
                "store": {"path": "elsewhere.db"},
            }
        )
        reply = gateway.ask("POST", RELOAD, {}, first)
        assert reply.json["applied"] == ["budget.usd", "gateway.api_keys", "gateway.max_body_bytes"]
        assert reply.json["needs_restart"] == ["store.max_commit_delay_s", "store.path"]
        assert gateway.ask("GET", "/v1/models", None, first).status == 401
        assert gateway.ask("GET", "/v1/models", None, second).status == 200
        spent = gateway.ask("POST", CHAT, chat_body(), second)
        assert (spent.status, spent.error["code"]) == (429, "insufficient_quota")
        assert gateway.ask("POST", CHAT, chat_body(text="x" * 3000), second).status == 413
        again = gateway.ask("POST", RELOAD, {}, second)
        assert (again.json["applied"], again.json["needs_restart"]) == ([], ["store.max_commit_delay_s", "store.path"])
        gateway.configure(tree("second", budget={"usd": 5, "period": "hour"}))
        waiting = gateway.ask("POST", RELOAD, {}, second).json
        assert (waiting["applied"], waiting["needs_restart"]) == (
            ["gateway.max_body_bytes"],
            ["budget.period", "budget.usd"],
        )


def test_the_door_takes_over_its_limits_and_keeps_count(playback: PlaybackServer, tmp_path: Path) -> None:
    def tree(**limits: int) -> dict[str, Any]:
        return config_tree(playback, tmp_path / "m.db", ["atlas-large"], gateway=limits)

    playback.put_faults("atlas-large", Slow(add_s=2.0))
    with GatewayProcess(tree(max_in_flight=1), tmp_path) as gateway, ThreadPoolExecutor(2) as others:
        first = others.submit(gateway.ask, "POST", CHAT, chat_body())
        assert eventually(lambda: gateway.ask("GET", "/v1/llms/atlas-large").json["in_flight"] == 1)
        refused = gateway.ask("POST", CHAT, chat_body())
        gateway.configure(tree(max_in_flight=2))
        wider = gateway.ask("POST", RELOAD, {}).json
        second = others.submit(gateway.ask, "POST", CHAT, chat_body())
        assert eventually(lambda: gateway.ask("GET", "/v1/llms/atlas-large").json["in_flight"] == 2)
        third = gateway.ask("POST", CHAT, chat_body())
        assert [answer.result().status for answer in (first, second)] == [200, 200]
        playback.put_faults("atlas-large")
        gateway.configure(tree(max_in_flight=2, max_body_bytes=2000, max_in_flight_bytes=2000))
        narrower = gateway.ask("POST", RELOAD, {}).json
        unannounced = gateway.ask("POST", CHAT, iter([json.dumps(chat_body()).encode()]))

    assert (refused.status, refused.error["code"]) == (429, "overloaded")
    assert (wider["applied"], wider["needs_restart"]) == (["gateway.max_in_flight"], [])
    assert third.status == 429, "the first counts on"
    assert narrower["applied"] == ["gateway.max_body_bytes", "gateway.max_in_flight_bytes"]
    assert unannounced.status == 200, "what announces no length counts as the longest there may be now"


def test_what_was_reloaded_is_still_so_after_a_restart(playback: PlaybackServer, tmp_path: Path) -> None:
    def pool(gateway: GatewayProcess) -> list[str]:
        return sorted(llm["spec"]["name"] for llm in gateway.ask("GET", "/v1/llms").json["llms"])

    both = config_tree(playback, tmp_path / "m.db", ["atlas-large", "boreal-pro"])
    one = config_tree(playback, tmp_path / "m.db", ["atlas-large"])
    with GatewayProcess(both, tmp_path) as gateway:
        gateway.configure(one)
        gateway.ask("POST", RELOAD, {})
        gateway.send(signal.SIGTERM)
        gateway.finish()
    with GatewayProcess(one, tmp_path) as gateway:
        assert pool(gateway) == ["atlas-large"]
        gateway.send(signal.SIGTERM)
        gateway.finish()
    # Named in the file once more, after it had gone by the file: it is there.
    with GatewayProcess(both, tmp_path) as gateway:
        assert pool(gateway) == ["atlas-large", "boreal-pro"]
        gateway.ask("DELETE", "/v1/llms/boreal-pro")
        gateway.ask("POST", RELOAD, {})
        # Removed by hand, its entry as it was: it stays away.
        assert pool(gateway) == ["atlas-large"]


def test_a_page_of_another_site_cannot_reload(playback: PlaybackServer, tmp_path: Path) -> None:
    with GatewayProcess(config_tree(playback, tmp_path / "m.db", ["atlas-large"]), tmp_path) as gateway:
        assert gateway.ask("POST", RELOAD, b"{}", {"content-type": "text/plain"}).status == 415
        started = time.monotonic()
        assert gateway.ask("POST", RELOAD, {}).json["applied"] == []
        assert time.monotonic() - started < 10


def test_every_live_setting_is_one() -> None:
    def exists(key: str) -> bool:
        at: Any = Config
        for part in key.split("."):
            fields = {field.encode_name: field for field in at.__struct_fields__ and _fields(at)}
            if part not in fields:
                return False
            at = fields[part].type
        return True

    assert [key for key in LIVE if not exists(key)] == []


def _fields(section: Any) -> Any:
    import msgspec

    return msgspec.structs.fields(section)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("routing: {policy: {name: ucb}, wait_weight: 3}", ["routing.wait_weight", "routing.policy"]),
        ("gateway: {api_keys: [a], host: 127.0.0.2}", ["gateway.host", "gateway.api_keys"]),
        ("judge: {model: openai/x}", ["judge"]),
        ("", []),
    ],
)
def test_what_differs_is_named(text: str, keys: list[str]) -> None:
    assert list(changed_keys(Config(), parse_config(text))) == keys
