from __future__ import annotations

import json
import shlex
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.cli.running import KEY, LIMIT_S, Serving, chat, invoke, pool_config, refusal, run

from mixllm.cli.gateway_api import GatewayAPI, exchange
from mixllm.cli.serve import curl_line
from mixllm.playback import PlaybackServer


def send(curl: str, *, variables: dict[str, str]) -> Any:
    """Do what the printed command does, with a shell's quoting."""
    words = shlex.split(curl)
    assert words[:2] == ["curl", "-s"]
    headers, data = {}, None
    for option, value in zip(words[3::2], words[4::2], strict=True):
        if option == "-H":
            name, _, text = value.partition(": ")
            for variable, meant in variables.items():
                text = text.replace(f"${variable}", meant)
            headers[name] = text
        else:
            assert option == "-d"
            data = value.encode()
    answer = exchange(words[2], method="GET" if data is None else "POST", body=data, headers=headers, timeout_s=LIMIT_S)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_printed_command_works_and_a_signal_ends_it_cleanly(config_path: Path, number: signal.Signals) -> None:
    with Serving(["serve", "-c", str(config_path)], as_json=False) as gateway:
        said = gateway.first_line
        assert said.startswith("MixLLM listens on http://127.0.0.1:")
        answer = send(said.partition(" Try: ")[2], variables={})
        assert answer["choices"][0]["message"]["content"]
        assert gateway.end(number) == 0
    assert "Traceback" not in gateway.stderr
    assert "never retrieved" not in gateway.stderr
    with closing(sqlite3.connect(config_path.with_suffix(".db"))) as store:
        assert store.execute("SELECT count(*) FROM decisions").fetchone() == (1,)
        assert store.execute("SELECT count(*) FROM outcomes").fetchone() == (1,)
        assert store.execute("SELECT position FROM states ORDER BY seq DESC LIMIT 1").fetchone() == (1,)


def test_with_keys_the_command_takes_the_key_from_the_variable(guarded: Serving) -> None:
    assert KEY not in guarded.first_line
    answer = send(guarded.said["try"], variables={"MIXLLM_API_KEY": KEY})
    assert answer["model"]
    assert chat(guarded.url, "Hello", key=KEY)["choices"]


def test_an_empty_pool_gets_a_command_that_works_too(empty: Serving) -> None:
    assert send(empty.said["try"], variables={}) == {"llms": []}


def test_options_go_before_the_file_which_a_variable_may_name(config_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = ["serve", "--host", "127.0.0.1", "--port", str(port)]
    with Serving(arguments, env={"MIXLLM_CONFIG": str(config_path)}) as gateway:
        assert gateway.url == f"http://127.0.0.1:{port}"
        api = GatewayAPI(url=gateway.url)
        assert api.readiness().status == "ready"
        assert len(api.pool()) == 6


def test_a_taken_port_is_a_message(config_path: Path, gateway: Serving) -> None:
    port = gateway.url.rpartition(":")[2]
    assert f"cannot listen on 127.0.0.1:{port}" in refusal(invoke("serve", "-c", str(config_path), "--port", port))


def test_listening_for_others_without_keys_is_refused(config_path: Path) -> None:
    message = refusal(invoke("serve", "-c", str(config_path), "--host", "0.0.0.0"))
    assert "Set gateway.api_keys" in message


def test_a_missing_file_is_a_message(tmp_path: Path) -> None:
    message = refusal(run("serve", cwd=tmp_path))
    assert "mixllm.yaml: there is no such file" in message
    assert "mixllm playback --write-config mixllm.yaml" in message


def test_an_unknown_key_is_named_with_its_line(config_path: Path) -> None:
    config_path.write_text("routing:\n  lamda: 2\n")
    message = refusal(invoke("serve", "-c", str(config_path)))
    assert f"{config_path}, line 2: unknown key 'lamda' in routing. Did you mean 'lambda'?" in message


def test_a_store_that_cannot_be_opened_is_a_message(pool: PlaybackServer, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("no database " * 20)
    path = pool_config(pool, tmp_path / "mixllm.yaml", store={"path": str(tmp_path / "notes.db")})
    assert "is no SQLite database" in refusal(invoke("serve", "-c", str(path)))


def test_the_curl_line_quotes_for_a_shell() -> None:
    words = shlex.split(curl_line("http://h:1", key=True, pool=True))
    assert words[:5] == ["curl", "-s", "http://h:1/v1/chat/completions", "-H", "Authorization: Bearer $MIXLLM_API_KEY"]
    assert json.loads(words[-1])["model"] == "mixllm/auto"


def test_it_serves_the_dashboard(gateway: Serving, guarded: Serving) -> None:
    for url, status in ((gateway.url, 200), (guarded.url, 401)):
        page = exchange(f"{url}/dashboard", timeout_s=LIMIT_S)
        assert page.status == 200
        assert page.body.startswith(b"<!doctype html>")
        assert exchange(f"{url}/dashboard/data?since=1h", timeout_s=LIMIT_S).status == status
