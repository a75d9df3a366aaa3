"""The log: one line a request, as text or JSON, and neither a prompt nor a key in anything that is written."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.gateway.running import Gateway, Reply, ask, chat_body, config_for, config_tree, entry

from mixllm.config.keys import hash_of
from mixllm.playback import ErrorStatus, PlaybackServer

CHAT = "/v1/chat/completions"
MARKER = "zyzzyva-marker-in-a-prompt"
KEY, HASHED, POOL_KEY = "gk-literal-0815", f"mxk_{'h' * 40}", "sk-pool-literal-23"


def test_a_request_is_one_line(playback: PlaybackServer, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO, logger="mixllm.access")
    keys = [{"name": "team-a", "hash": f"sha256:{hash_of(HASHED).hex()}"}]
    config = config_for(playback, tmp_path / "m.db", ["atlas-large"], gateway={"access_log": True, "keys": keys})
    headers = {"authorization": f"Bearer {HASHED}"}
    with Gateway(config) as gateway:
        whole = gateway.ask("POST", CHAT, chat_body(), headers)
        streamed = gateway.ask("POST", CHAT, chat_body(stream=True), headers)
        refused = gateway.ask("GET", "/v1/llms?secret=x", None, headers)
        assert (whole.status, streamed.status, refused.status) == (200, 200, 403)
    first, second, third = (record.request for record in caplog.records if record.name == "mixllm.access")

    for facts, reply in ((first, whole), (second, streamed)):
        assert (facts["method"], facts["path"], facts["status"]) == ("POST", CHAT, 200)
        assert facts["decision_id"] == reply.inference_id
        assert (facts["llm"], facts["key"], facts["calls"]) == ("atlas-large", "team-a", 1)
        assert facts["ms"] > 0
        assert facts["tokens_in"] > 0
        assert facts["tokens_out"] > 0
    assert f"{first['cost_usd']:.9f}" == whole.headers["x-mixllm-cost-usd"]
    assert set(third) == {"method", "path", "status", "ms", "key"}
    assert third["path"] == "/v1/llms"
    assert HASHED not in caplog.text


def test_no_line_where_none_is_asked_for(playback: PlaybackServer, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    with Gateway(config_for(playback, tmp_path / "m.db", ["atlas-large"])) as gateway:
        gateway.chat()
    assert not [record for record in caplog.records if record.name == "mixllm.access"]


def test_a_real_server_at_its_most_talkative_writes_no_prompt_and_no_key(
    playback: PlaybackServer, tmp_path: Path
) -> None:
    specs = playback.llm_specs()
    tree = config_tree(
        playback,
        tmp_path / "m.db",
        [],
        gateway={
            "port": 0,
            "api_keys": [KEY],
            "keys": [{"name": "h", "hash": f"sha256:{hash_of(HASHED).hex()}", "scopes": ["chat", "admin"]}],
            "access_log": True,
            "audit_path": str(tmp_path / "audit.jsonl"),
        },
        model_list=[entry(specs[0], api_key=POOL_KEY), entry(specs[1], api_key="os.environ/POOL_KEY")],
    )
    path = tmp_path / "gateway.yaml"
    path.write_text(json.dumps(tree))
    command = [sys.executable, "-m", "mixllm", "serve", "-c", str(path), "--log-level", "debug", "--log-format", "json"]
    environ = {**os.environ, "POOL_KEY": "sk-pool-environ-42"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line, server.stderr.read()[-3000:] if server.stderr is not None else ""
        url = line.split()[3].rstrip(".")

        def send(method: str, path: str, body: object = None, key: str = KEY) -> Reply:
            return ask(url, method, path, body, {"authorization": f"Bearer {key}"})

        for model in ("atlas-large", "mixllm/auto", "no-such-llm"):
            for stream in (False, True):
                send("POST", CHAT, chat_body(model, f"{MARKER} {model}", stream=stream), HASHED)
        playback.put_faults("atlas-large", ErrorStatus(status=400))
        send("POST", CHAT, chat_body("atlas-large", MARKER))
        send("POST", CHAT, chat_body(messages=[{"role": "user", "content": {"text": MARKER}}]))
        send("POST", CHAT, json.dumps(chat_body(text=MARKER)).encode()[:-1])
        send("POST", CHAT, chat_body(text=MARKER), f"{KEY}-wrong")
        send("PATCH", "/v1/llms/atlas-large", {"timeout_s": 9.0}, HASHED)
        assert send("POST", "/v1/reload", {}, HASHED).status == 200
        server.send_signal(signal.SIGTERM)
        out, log = server.communicate(timeout=30)

    written = (
        out + log + "".join(file.read_bytes().decode("utf-8", "replace") for file in tmp_path.iterdir() if file != path)
    )
    for secret in (MARKER, KEY, HASHED, POOL_KEY, "sk-pool-environ-42"):
        assert secret not in written
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    assert sum(line["logger"] == "mixllm.access" for line in lines) == 12
    audited = [line["audit"]["action"] for line in lines if line["logger"] == "mixllm.audit"]
    assert audited == ["PATCH /v1/llms/atlas-large", "POST /v1/reload"]
