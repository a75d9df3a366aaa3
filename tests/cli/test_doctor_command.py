from __future__ import annotations

import signal
import socket
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.running import Serving, decide, invoke, output_of, run

from mixllm.assembly import Router
from mixllm.cli.checks.installation import EXTRAS
from mixllm.config import load_config
from mixllm.playback import PlaybackServer
from mixllm.store import SQLiteStore

ROOT = Path(__file__).parent.parent.parent
QUIET = "http://127.0.0.1:9"


def checks(*arguments: str, code: int = 0, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    said = output_of("doctor", *arguments, code=code, env=env)
    assert said["ok"] is (code == 0)
    for check in said["checks"]:
        assert (check["next_step"] is None) == (check["status"] == "ok"), check
    return {check["check"]: check for check in said["checks"]}


def edited(path: Path, **sections: Any) -> str:
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **sections}))
    return str(path)


def entry(name: str, api_base: str, **params: Any) -> dict[str, Any]:
    return {
        "model_name": name,
        "litellm_params": {"model": name, "api_base": api_base, **params},
        "model_info": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6},
    }


def learn_one(path: Path) -> None:
    with Router.from_config(load_config(path)) as router:
        router.feedback(router.route("Hello", expect_outcome=False).decision_id, thumbs=True)


@pytest.fixture
def mute() -> Iterator[str]:
    """An endpoint that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def test_all_in_order_beside_a_running_gateway(gateway: Serving) -> None:
    inference_id = decide(gateway.url, "Hello")["decision_id"]
    invoke("feedback", inference_id, "--up", "--url", gateway.url)
    done = run("doctor", "-c", gateway.arguments[2], "--url", gateway.url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert all(line.split()[0] == "ok" for line in lines[1:-1] if not line.startswith(" "))
    assert "with 6 LLMs and is ready" in done.stdout
    assert "is intact, format" in done.stdout
    assert lines[-1].endswith("0 to look at, 0 to correct.")


def test_as_json_without_a_store_and_a_gateway(config_path: Path, pool: PlaybackServer) -> None:
    found = checks("-c", str(config_path), "--url", QUIET)
    assert found["config"]["detail"] == f"{config_path} is valid: 6 LLMs"
    assert "will be made when a gateway starts" in found["store"]["detail"]
    assert found["gateway"]["detail"] == f"none runs at {QUIET}"
    assert "atlas-large $10.00 / $30.00" in found["prices"]["detail"]
    assert "hashing" in found["encoder"]["detail"]
    assert "atlas-large" in found[f"endpoint {pool.base_url}"]["detail"]
    assert not config_path.with_suffix(".db").exists()


def test_a_bad_and_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("routing:\n  lamda: 2\n")
    found = checks("-c", str(path), code=1)
    assert "line 2: unknown key 'lamda' in routing. Did you mean 'lambda'?" in found["config"]["detail"]
    assert found["version"]["status"] == "ok"
    missing = run("doctor", cwd=tmp_path)
    assert missing.returncode == 1
    assert "Traceback" not in missing.stderr
    assert "there is no such file" in missing.stdout


def test_keys(config_path: Path, pool: PlaybackServer) -> None:
    entries = [
        entry("absent", pool.base_url, api_key="os.environ/ABSENT_KEY"),
        entry("present", pool.base_url, api_key="os.environ/PRESENT_KEY"),
        entry("literal", pool.base_url, api_key="sk-written-out"),
    ]
    path = edited(config_path, model_list=entries)
    arguments = ["doctor", "-c", path, "--url", QUIET]
    found = checks("-c", path, "--url", QUIET, code=1, env={"PRESENT_KEY": "sk-in-the-environment"})
    assert found["key absent"]["detail"] == "variable ABSENT_KEY is not set"
    assert found["key absent"]["status"] == "fail"
    assert found["key literal"]["status"] == "warn"
    assert "keys" not in found
    for options in ([], ["--json"]):
        shown = invoke(*arguments, *options, env={"PRESENT_KEY": "sk-in-the-environment"}).output
        assert "sk-written-out" not in shown
        assert "sk-in-the-environment" not in shown


def test_no_key_for_an_endpoint_elsewhere_is_worth_a_look(config_path: Path) -> None:
    path = edited(config_path, model_list=[entry("far", "http://far.invalid/v1")])
    found = checks("-c", path, "--url", QUIET, code=1)
    assert (found["key far"]["status"], found["key far"]["detail"]) == ("warn", "none is configured")
    assert "cannot be reached" in found["endpoint http://far.invalid/v1"]["detail"]


@pytest.mark.parametrize(
    ("gateway", "expected"),
    [
        ({"api_keys": ["os.environ/ABSENT_KEY"]}, "variable ABSENT_KEY is not set"),
        ({"host": "0.0.0.0"}, "reachable from other machines"),
    ],
)
def test_keys_of_clients(config_path: Path, gateway: dict[str, Any], expected: str) -> None:
    path = edited(config_path, gateway={"port": 1, **gateway})
    assert expected in checks("-c", path, code=1)["gateway keys"]["detail"]


def test_prices(config_path: Path, pool: PlaybackServer) -> None:
    unknown = {**entry("unknown-model", pool.base_url), "model_info": {}}
    listed = {**entry("gpt-4o", pool.base_url), "model_info": {}}
    free = {**entry("free", pool.base_url), "model_info": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0}}
    found = checks("-c", edited(config_path, model_list=[unknown, listed, free]), "--url", QUIET, code=1)
    assert "No price is known" in found["price unknown-model"]["detail"]
    assert found["price free"]["status"] == "warn"
    assert found["prices"]["detail"].endswith("gpt-4o $2.50 / $10.00 (list)")


@pytest.mark.parametrize(
    ("sections", "check", "expected"),
    [
        ({"model_list": [{"model_name": "x", "litellm_params": {"model": "y"}}]}, "config", "no api_base is given"),
        ({"routing": {"reference_llm": "atlas"}}, "routing", "no LLM named 'atlas' in the pool"),
        ({"routing": {"policy": {"exploration": -1.0}}}, "config", "exploration must be"),
        ({"learning": {"recipe": {"tag_precission": 1.0}}}, "routing", "Did you mean 'tag_precision'?"),
        ({"encoder": {"kind": "folder", "path": "/nowhere"}}, "encoder", "/nowhere"),
        ({"store": {"path": "/nowhere/mixllm.db"}}, "store", "the folder of /nowhere/mixllm.db does not exist"),
    ],
)
def test_what_fails_is_named_with_a_next_step(
    config_path: Path, sections: dict[str, Any], check: str, expected: str
) -> None:
    found = checks("-c", edited(config_path, **sections), "--url", QUIET, code=1)[check]
    assert found["status"] == "fail"
    assert expected in found["detail"]


def test_an_empty_pool_and_a_store_in_memory_are_worth_a_look(config_path: Path) -> None:
    found = checks("-c", edited(config_path, model_list=[], store={"kind": "memory"}), "--url", QUIET)
    assert found["config"]["status"] == "warn"
    assert "nothing learned survives a restart" in found["store"]["detail"]


def test_endpoints(config_path: Path, pool: PlaybackServer, mute: str, guarded: Serving, gateway: Serving) -> None:
    entries = [
        entry("silent", mute),
        entry("stopped", "http://127.0.0.1:9/v1"),
        entry("closed", f"{guarded.url}/v1", api_key="sk-wrong"),
        entry("no-such-model", pool.base_url),
        entry("wrong-path", f"{gateway.url}/v2"),
        entry("not-openai", f"{gateway.url}/health/live?"),
    ]
    path = edited(config_path, model_list=entries)
    found = checks("-c", path, "--url", QUIET, "--timeout-s", "0.3", code=1)
    assert "did not answer within 0.3 s, for silent" in found[f"endpoint {mute}"]["detail"]
    assert "cannot be reached (Connection refused)" in found["endpoint http://127.0.0.1:9/v1"]["detail"]
    assert found[f"endpoint {guarded.url}/v1"]["detail"] == "refuses the key of closed (status 401)"
    assert found[f"endpoint {pool.base_url}"]["detail"] == "does not list no-such-model"
    assert "does not list its models" in found[f"endpoint {gateway.url}/v2"]["detail"]
    assert "does not answer as OpenAI's API does" in found[f"endpoint {gateway.url}/health/live?"]["detail"]
    assert "sk-wrong" not in str(found)


def test_the_judge_is_checked_like_any_llm(config_path: Path, pool: PlaybackServer, guarded: Serving) -> None:
    away = {"model": "no-such-model", "api_base": "http://127.0.0.1:9/v1", "api_key_env": "ABSENT_KEY"}
    path = edited(config_path, judge=away)
    found = checks("-c", path, "--url", QUIET, code=1)
    assert found["key judge"]["detail"] == "variable ABSENT_KEY is not set"
    assert "No price is known for LLM 'judge'" in found["price judge"]["detail"]
    assert found["endpoint http://127.0.0.1:9/v1"]["detail"].endswith("for judge")
    closed = {"model": "gpt-4o-mini", "api_base": f"{guarded.url}/v1", "api_key_env": "JUDGE_KEY"}
    found = checks("-c", edited(config_path, judge=closed), "--url", QUIET, code=1, env={"JUDGE_KEY": "sk-wrong"})
    assert found[f"endpoint {guarded.url}/v1"]["detail"] == "refuses the key of judge (status 401)"
    assert "judge $0.15 / $0.60 (list)" in found["prices"]["detail"]
    assert "sk-wrong" not in str(found)
    own = {
        "model": "ember-mini",
        "api_base": pool.base_url,
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-6,
    }
    found = checks("-c", edited(config_path, judge=own), "--url", QUIET)
    assert "judge" in found[f"endpoint {pool.base_url}"]["detail"]


def test_a_key_that_no_header_can_carry(config_path: Path, pool: PlaybackServer) -> None:
    path = edited(config_path, model_list=[entry("odd", pool.base_url, api_key="os.environ/ODD_KEY")])
    found = checks("-c", path, "--url", QUIET, code=1, env={"ODD_KEY": "sk-\nhidden"})
    assert "holds characters that no key has" in found[f"endpoint {pool.base_url}"]["detail"]
    assert "hidden" not in str(found)


def test_another_program_at_the_gateways_port(config_path: Path, pool: PlaybackServer, mute: str) -> None:
    taken = checks("-c", str(config_path), "--url", pool.root_url, code=1)["gateway"]
    assert "does not speak as this version's gateway does" in taken["detail"]
    silent = checks("-c", str(config_path), "--url", mute, "--timeout-s", "0.3", code=1)["gateway"]
    assert "did not answer" in silent["detail"]


def test_a_gateway_without_llms_is_worth_a_look(empty: Serving) -> None:
    found = checks("-c", empty.arguments[2], "--url", empty.url)["gateway"]
    assert found["status"] == "warn"
    assert "the pool is empty" in found["detail"]


def test_a_checkpoint(config_path: Path) -> None:
    learn_one(config_path)
    found = checks("-c", str(config_path), "--url", QUIET)
    assert "1 decisions, 0 outcomes, 1 feedback" in found["store"]["detail"]
    assert "6 LLMs, 0 events after it" in found["checkpoint"]["detail"]
    other_tags = edited(config_path, tags={"domains": [{"name": "a", "description": "b c"}]})
    unfit = checks("-c", other_tags, "--url", QUIET)["checkpoint"]
    assert (unfit["status"], "another encoder or other tags" in unfit["detail"]) == ("warn", True)


def test_the_store_of_a_killed_gateway(config_path: Path) -> None:
    learn_one(config_path)
    # A process that learned beside it would learn what is left, and keep it.
    config_path.write_text(config_path.read_text() + "\nlearning: {process: false}\n")
    with Serving(["serve", "-c", str(config_path)]) as gateway:
        invoke("feedback", decide(gateway.url, "Hello")["decision_id"], "--up", "--url", gateway.url)
        assert gateway.end(signal.SIGKILL) == -signal.SIGKILL
    found = checks("-c", str(config_path), "--url", QUIET)
    assert "2 decisions, 0 outcomes, 2 feedback" in found["store"]["detail"]
    assert "1 events after it" in found["checkpoint"]["detail"]


def test_a_damaged_checkpoint_is_worth_a_look(config_path: Path) -> None:
    learn_one(config_path)
    with closing(sqlite3.connect(config_path.with_suffix(".db"))) as store, store:
        store.execute("UPDATE states SET payload = x'00'")
    found = checks("-c", str(config_path), "--url", QUIET)["checkpoint"]
    assert found["status"] == "warn"
    assert "not a MixLLM state" in found["detail"]


def test_a_file_that_is_no_store_stays_as_it_is(config_path: Path) -> None:
    config_path.with_suffix(".db").write_bytes(b"notes " * 30)
    assert "is no SQLite database" in checks("-c", str(config_path), "--url", QUIET, code=1)["store"]["detail"]
    assert config_path.with_suffix(".db").read_bytes() == b"notes " * 30


def test_a_damaged_store(config_path: Path) -> None:
    path = config_path.with_suffix(".db")
    SQLiteStore(path=path).close()
    content = bytearray(path.read_bytes())
    content[5000:9000] = b"\xff" * 4000
    path.write_bytes(content)
    assert "damaged" in checks("-c", str(config_path), "--url", QUIET, code=1)["store"]["detail"]


@pytest.mark.parametrize(
    ("statement", "status", "expected"),
    [
        ("CREATE TABLE x (y)", "fail", "is a database of another program"),
        ("PRAGMA user_version = 999", "fail", "was written by a newer MixLLM"),
        ("PRAGMA user_version = 1", "ok", "has format 1; it is brought to"),
    ],
)
def test_stores_of_others_and_of_other_versions(config_path: Path, statement: str, status: str, expected: str) -> None:
    with closing(sqlite3.connect(config_path.with_suffix(".db"))) as store:
        if "user_version" in statement:
            store.execute("PRAGMA application_id = 0x4D69784C")
        store.execute(statement)
    found = checks("-c", str(config_path), "--url", QUIET, code=int(status == "fail"))["store"]
    assert (found["status"], expected in found["detail"]) == (status, True)


def test_a_folder_in_the_stores_place(config_path: Path) -> None:
    config_path.with_suffix(".db").mkdir()
    assert "cannot be written" in checks("-c", str(config_path), "--url", QUIET, code=1)["store"]["detail"]


def test_the_extras_are_those_of_the_project() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        names = {requirement.partition(";")[0].partition(">")[0].strip() for requirement in declared[extra]}
        assert set(packages) == {name for name in names if not name.startswith("mixllm")}


def test_wrong_usage_ends_with_2() -> None:
    assert invoke("doctor", "--timeout-s", "0").exit_code == 2
    assert invoke("doctor", "--url", "h:80").exit_code == 2
