from __future__ import annotations

import functools
import hashlib
import http.server
import json
import pickle
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.running import Serving, chat, invoke, output_of, pool_config, refusal, run

from mixllm.cli.download import download
from mixllm.errors import LogError
from mixllm.playback import PlaybackServer

TABLE = pickle.dumps(
    pd.DataFrame(
        {
            "sample_id": ["1", "2"],
            "prompt": ["a", "b"],
            "m": [1.0, 0.0],
            "m|total_cost": [0.1, 0.3],
            "n": [1.0, 1.0],
            "n|total_cost": [1.0, 2.0],
        }
    ),
    4,
)


class _Files(http.server.BaseHTTPRequestHandler):
    """What a server of files may do, by path."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        place = self.path.rpartition("/")[0]
        if place == "/good":
            self._send(200, TABLE)
        elif place == "/moved":
            self._send(302, b"", Location=self.path.replace("moved", "good"))
        elif place == "/away":
            self._send(302, b"", Location="file:///etc/hostname")
        elif place == "/ftp":
            self._send(302, b"", Location="ftp://127.0.0.1/x.pkl")
        elif place == "/page":
            self._send(200, b"<html>log in</html>")
        elif place == "/empty":
            self._send(200, b"")
        elif place == "/cut":
            self._send(200, TABLE[:50], **{"Content-Length": str(len(TABLE))})
        elif place == "/huge":
            self._send(200, TABLE, **{"Content-Length": str(10**12)})
        elif place == "/endless":
            self._send(200, b"\x80" * 300_000, **{"Content-Length": "?"})
        else:
            self._send(404, b"no such file")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the name is the base class's
        del format, args

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), **headers}
        for name, value in headers.items():
            if value != "?":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Files:
    """A running server of files, and what it was asked for."""

    def __init__(self, url: str, asked: list[str]) -> None:
        self.url, self.asked = url, asked


@pytest.fixture
def files() -> Iterator[Files]:
    asked: list[str] = []
    handler = type("Handler", (_Files,), {"asked": asked})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield Files(f"http://127.0.0.1:{server.server_address[1]}", asked)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("place", ["good", "moved"])
def test_fetch_puts_the_file_in_place(files: Files, tmp_path: Path, place: str) -> None:
    out = tmp_path / "deep" / "bench"
    asked = [
        "data",
        "fetch",
        "routerbench",
        "--file",
        "5shot",
        "--out",
        str(out),
        "--base-url",
        f"{files.url}/{place}/",
    ]
    said = output_of(*asked)
    target = out / "routerbench_5shot.pkl"
    digest = hashlib.sha256(TABLE).hexdigest()
    assert said == {
        "path": str(target),
        "url": f"{files.url}/{place}/routerbench_5shot.pkl",
        "size_bytes": len(TABLE),
        "sha256": digest,
        "fetched": True,
    }
    assert target.read_bytes() == TABLE
    assert [file.name for file in out.iterdir()] == [target.name]
    count = len(files.asked)
    again = invoke(*asked)
    assert again.exit_code == 0
    assert "was there already" in again.stdout
    assert digest in again.stdout
    assert len(files.asked) == count
    assert output_of(*asked, "--force")["fetched"] is True
    assert output_of("data", "show", str(out))["queries"] == 2


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("none", "Not Found"),
        ("away", "not safe|not allowed"),
        ("ftp", "not safe to follow"),
        ("page", "another kind of file"),
        ("empty", "it ended after 0 bytes"),
        ("cut", "it ended after 50 bytes|IncompleteRead"),
        ("huge", "1000000000000 bytes, more than"),
    ],
)
def test_a_failed_fetch_leaves_nothing_and_says_what_to_do(
    files: Files, tmp_path: Path, place: str, reason: str
) -> None:
    url = f"{files.url}/{place}"
    message = refusal(invoke("data", "fetch", "routerbench", "--out", str(tmp_path), "--base-url", url, "--json"))
    assert f"{url}/routerbench_0shot.pkl cannot be fetched (" in message
    assert any(word in message for word in reason.split("|")), message
    assert f"download that file on another machine and put it at {tmp_path}/routerbench_0shot.pkl" in message
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_a_message(tmp_path: Path) -> None:
    message = refusal(run("data", "fetch", "routerbench", "--base-url", "http://127.0.0.1:9", cwd=tmp_path))
    assert "http://127.0.0.1:9/routerbench_0shot.pkl cannot be fetched" in message
    assert "put it at routerbench/routerbench_0shot.pkl" in message


def test_a_file_in_the_way_is_a_message(files: Files, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    message = refusal(
        invoke("data", "fetch", "routerbench", "--out", str(tmp_path / "file"), "--base-url", f"{files.url}/good")
    )
    assert "cannot be written" in message


def fetch_with(url: str, target: Path, told: Callable[[int, int | None], None], **changed: Any) -> None:
    bounds: dict[str, Any] = {"max_bytes": 100_000, "timeout_s": 5.0, "total_timeout_s": 5.0, "begins_with": b"\x80"}
    download(url, target, on_progress=told, **(bounds | changed))


def test_bounds_hold_where_the_server_does_not_say_how_much_comes(files: Files, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []

    def tell(done: int, total: int | None) -> None:
        told.append((done, total))

    for changed, words in (
        ({}, "more than the 100000 bytes"),
        ({"total_timeout_s": -1.0, "max_bytes": 10**6}, "too long"),
    ):
        with pytest.raises(LogError, match=words):
            fetch_with(f"{files.url}/endless/x", tmp_path / "x", tell, **changed)
    assert list(tmp_path.iterdir()) == []
    fetch_with(f"{files.url}/endless/x", tmp_path / "x", tell, max_bytes=10**6)
    assert (tmp_path / "x").stat().st_size == 300_000
    assert told[-1] == (300_000, None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fetch", "imagenet"], "'imagenet' is not"),
        (["fetch", "routerbench", "--file", "raw"], "'raw' is not"),
        (["fetch", "routerbench", "--base-url", "ftp://x"], "must begin with http"),
        (["export"], "Missing option '--out'"),
        (["check"], "Missing argument"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], expected: str) -> None:
    assert expected in refusal(invoke("data", *arguments), code=2)


def folder(path: Path, quality: list[float | None]) -> Path:
    path.mkdir()
    pq.write_table(
        pa.table({"query_id": ["q0", "q1"], "prompt": ["a", "b"], "task": ["x", "y"]}), path / "queries.parquet"
    )
    rows = {
        "query_id": ["q0", "q0", "q1"],
        "model": ["s", "[red]l", "s"],
        "quality": quality,
        "cost_usd": [0.1, 2.0, 0.3],
    }
    pq.write_table(pa.table(rows), path / "outcomes.parquet")
    return path


def test_check_a_good_log(tmp_path: Path) -> None:
    path = str(folder(tmp_path / "log", [0.0, 1.0, 0.5]))
    assert output_of("data", "check", path) == {
        "path": path,
        "problems": [],
        "count": 0,
        "usable": True,
        "queries": 2,
        "llms": 2,
        "outcomes": 3,
        "left_out": 0,
        "ok": True,
    }
    assert invoke("data", "check", path).stdout == f"{path}: no problems; 2 queries, 2 LLMs.\n"


def test_check_lists_problems_and_ends_with_1_where_the_log_is_unusable(tmp_path: Path) -> None:
    path = str(folder(tmp_path / "log", [0.0, 7.0, 0.5]))
    said = output_of("data", "check", path)
    assert (said["ok"], said["usable"], said["count"], said["left_out"]) == (False, True, 2, 1)
    assert said["problems"][0] == {
        "file": "outcomes.parquet",
        "column": "quality",
        "row": 1,
        "query_id": "q0",
        "message": "it is 7, but must be a number between 0 and 1. Correct it, or remove the row.",
    }
    shown = invoke("data", "check", path)
    assert shown.exit_code == 0
    assert "it is 7, but must be a number between 0 and 1" in shown.stdout
    assert "Without 1 broken rows (--drop-broken, broken='drop') 2 queries and 1 LLMs are left." in shown.stdout
    (tmp_path / "log" / "outcomes.parquet").unlink()
    said = output_of("data", "check", path, code=1)
    assert (said["usable"], said["count"]) == (False, 1)
    unusable = invoke("data", "check", path)
    assert unusable.exit_code == 1
    assert "The log cannot be used." in unusable.stdout


def test_check_what_is_no_log(tmp_path: Path) -> None:
    assert "holds no routing log" in refusal(invoke("data", "check", str(tmp_path)))
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(b"\x80\x04cos\nsystem\n.")
    said = output_of("data", "check", str(evil), code=1)
    assert "os.system" in said["problems"][0]["message"]


def test_show(tmp_path: Path) -> None:
    path = folder(tmp_path / "log", [0.0, 1.0, 0.5])
    assert output_of("data", "show", str(path)) == {
        "name": "log",
        "queries": 2,
        "outcomes": 3,
        "llms": [
            {"llm": "s", "asked": 2, "judged": 2, "quality": 0.25, "cost_usd": 0.2},
            {"llm": "[red]l", "asked": 1, "judged": 1, "quality": 1.0, "cost_usd": 2.0},
        ],
        "strongest": "[red]l",
        "labels": ["task"],
        "encoder": None,
        "propensities": False,
        "left_out": 0,
    }
    shown = invoke("data", "show", str(path)).stdout
    assert "log: 2 queries, 2 LLMs, 3 outcomes; labels: task; strongest: [red]l" in shown
    assert shown.index("1.0000") < shown.index("0.2500")
    assert "does not exist" in refusal(invoke("data", "show", str(tmp_path / "nowhere")))


def test_show_without_the_broken_rows(tmp_path: Path) -> None:
    path = str(folder(tmp_path / "log", [0.0, None, 0.5]))
    assert "row 1: it is missing or NaN" in refusal(invoke("data", "show", path))
    assert output_of("data", "show", path, "--drop-broken")["left_out"] == 1
    assert "1 broken rows are left out" in invoke("data", "show", path, "--drop-broken").stdout


def test_export_what_a_gateway_did(pool: PlaybackServer, tmp_path: Path) -> None:
    config = pool_config(pool, tmp_path / "mixllm.yaml")
    with Serving(["serve", "--config", str(config)]) as gateway:
        for text in ("What is 12 times 7?", "Write a poem."):
            chat(gateway.url, text)
        # The gateway goes on meanwhile; an answer is on the disk a moment after it was given.
        live = tmp_path
        said: dict[str, Any] = {"decisions": 0}
        deadline_s = time.monotonic() + 20
        while said["decisions"] < 2 and time.monotonic() < deadline_s:
            live = tmp_path / f"live-{time.monotonic_ns()}"
            exported = invoke("data", "export", "--config", str(config), "--out", str(live), "--json")
            said = json.loads(exported.stdout or '{"decisions": 0}')
    assert (said["decisions"], said["outcomes"], said["judged"]) == (2, 2, 0)
    assert said["encoder"] != "unknown"
    seen = output_of("data", "show", str(live))
    assert (seen["queries"], seen["propensities"], seen["strongest"]) == (2, True, None)
    assert (seen["encoder"], seen["labels"]) == (said["encoder"], ["tag"])
    assert output_of("data", "check", str(live))["ok"] is True
    shown = invoke("data", "show", str(live)).stdout
    assert "what a router chose" in shown
    assert "strongest: not known" in shown

    store = str(config.with_suffix(".db"))
    done = run("data", "export", "--store", store, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out: 2 decisions, 2 outcomes, 0 of them judged; left out: 0 (")
    assert output_of("data", "show", str(tmp_path / "out"))["encoder"] == "unknown"
    assert "is there already" in refusal(invoke("data", "export", "--store", store, "--out", str(tmp_path / "out")))
    assert "is a store. Export it first" in refusal(invoke("data", "show", store))


def test_export_needs_a_store(pool: PlaybackServer, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    missing = tmp_path / "none.db"
    assert "there is no store" in refusal(invoke("data", "export", "--store", str(missing), *out))
    assert not missing.exists()
    assert "there is no such file" in refusal(invoke("data", "export", "--config", str(tmp_path / "no.yaml"), *out))
    config = pool_config(pool, tmp_path / "m.yaml", store={"kind": "memory"})
    assert "store.kind is memory" in refusal(invoke("data", "export", "--config", str(config), *out))
    assert not (tmp_path / "out").exists()


def test_json_is_one_line(tmp_path: Path) -> None:
    path = folder(tmp_path / "log", [0.0, 1.0, 0.5])
    done = invoke("data", "show", str(path), "--json")
    assert len(done.stdout.splitlines()) == 1
    assert json.loads(done.stdout)["name"] == "log"
