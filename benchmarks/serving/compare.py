"""Gateways side by side in one run: what each can bear, what it adds, what it takes.

    python -m benchmarks.serving.compare [--litellm PATH/TO/litellm] [--rounds 3] [--seconds 5]

The same stub upstream answers all of them at once. ``bare`` is a pass-through of this gateway's own stack that neither
routes nor records: the most that the stack can do. ``mixllm`` routes over three LLMs, records and learns; ``mixllm-2``
is the same with two workers. ``litellm`` is LiteLLM's proxy, from an installation of its own (extra ``proxy``).
Absolute figures belong to the machine; the rounds alternate, so that the ratios do not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.measuring import store

_CONNECTIONS = 32
_PRICES_PER_MILLION = ((0.1, 0.3), (0.5, 1.5), (2.5, 10.0))
_START_LIMIT_S = 120.0


class _Side:
    """One gateway: how it is started, where it listens, what it is asked for."""

    def __init__(self, name: str, command: list[str], port: int, model: str, ready: str) -> None:
        self.name, self.command, self.port, self.model, self.ready = name, command, port, model, ready
        self.start_s = 0.0
        self.figures: dict[str, list[dict[str, Any]]] = {}
        self.memory_mib = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", type=Path, help="command of LiteLLM's proxy; without it, it is left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    parser.add_argument("--equal-load", type=float, default=30.0, help="requests/s at which LiteLLM is compared")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stub = _free_port()
        stack.enter_context(_running([sys.executable, "-m", "benchmarks.serving.stub", str(stub)], port=stub))
        direct = _Side("direct", [], stub, "stub", "")
        sides = _sides(Path(folder), stub, arguments.litellm)
        pids = {}
        for side in sides:
            started_s = time.monotonic()
            pids[side.name] = stack.enter_context(_running(side.command, port=side.port, ready=side.ready))
            side.start_s = time.monotonic() - started_s
            _load(side, seconds=2.0)  # warm
        for number in range(arguments.rounds):
            for side in sides:
                for who in (direct, side):
                    _round(who, arguments, beside=side.name)
                print(number, side.name, side.figures["saturation"][-1]["requests_per_s"], flush=True)
        for side in sides:
            side.memory_mib = _memory_mib(pids[side.name])
    result = {side.name: _summary(side, direct) for side in sides}
    print(json.dumps(result, indent=2))
    store("gateways", {"sides": result}, command="python -m benchmarks.serving.compare")


def _sides(folder: Path, stub: int, litellm: Path | None) -> list[_Side]:
    python = [sys.executable, "-m"]
    bare = _free_port()
    sides = [_Side("bare", [*python, "benchmarks.serving.bare", str(bare), str(stub)], bare, "stub", "")]
    for name, workers in (("mixllm", 1), ("mixllm-2", 2)):
        port = _free_port()
        config = folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(_config(stub, port, folder / f"{name}.db", workers)))
        command = [*python, "mixllm", "serve", "-c", str(config), "--log-level", "error"]
        sides.append(_Side(name, command, port, "mixllm/auto", "/health/ready"))
    if litellm is not None:
        port = _free_port()
        config = folder / "litellm.yaml"
        entry = {"model": "openai/stub", "api_base": f"http://127.0.0.1:{stub}/v1", "api_key": "none"}
        config.write_text(yaml.safe_dump({"model_list": [{"model_name": "stub", "litellm_params": entry}]}))
        command = [str(litellm), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
        sides.append(_Side("litellm", command, port, "stub", "/health/liveliness"))
    return sides


def _config(stub: int, port: int, path: Path, workers: int) -> dict[str, Any]:
    return {
        "model_list": [
            {
                "model_name": f"llm-{number}",
                "litellm_params": {"model": "openai/stub", "api_base": f"http://127.0.0.1:{stub}/v1"},
                "model_info": {"input_cost_per_token": usd_in / 1e6, "output_cost_per_token": usd_out / 1e6},
            }
            for number, (usd_in, usd_out) in enumerate(_PRICES_PER_MILLION)
        ],
        "store": {"path": str(path)},
        "gateway": {"port": port, "workers": workers},
    }


def _round(side: _Side, arguments: argparse.Namespace, *, beside: str) -> None:
    seconds = arguments.seconds
    loads: dict[str, dict[str, Any]] = {
        "at_equal_load": {"rate": arguments.equal_load},
        "at_200": {"rate": 200.0},
        "streams_at_equal_load": {"rate": arguments.equal_load, "stream": True},
        "saturation": {},
        "stream_saturation": {"stream": True},
    }
    for name, how in loads.items():
        if beside == "litellm" and name == "at_200":
            continue  # More than it bears.
        if side.name == "direct" and "rate" not in how:
            continue
        key = f"{name}/{beside}" if side.name == "direct" else name
        side.figures.setdefault(key, []).append(_load(side, seconds=seconds, **how))


def _load(side: _Side, *, seconds: float, rate: float | None = None, stream: bool = False) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.serving.load", str(side.port), str(_CONNECTIONS), str(seconds)]
    command += ([str(rate)] if rate is not None else []) + (["--stream"] if stream else []) + ["--model", side.model]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    assert set(figures["statuses"]) == {"200"}, (side.name, figures)
    return figures


def _summary(side: _Side, direct: _Side) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "start_s": round(side.start_s, 2),
        "memory_mib": round(side.memory_mib, 1),
        "requests_per_s": _rates(side.figures["saturation"]),
        "streams_per_s": _rates(side.figures["stream_saturation"]),
    }
    for name in ("at_equal_load", "at_200", "streams_at_equal_load"):
        if name in side.figures:
            pairs = list(zip(side.figures[name], direct.figures[f"{name}/{side.name}"], strict=True))
            summary[f"added_ms_{name}"] = {
                share: round(median(ours["ms"][share] - theirs["ms"][share] for ours, theirs in pairs), 3)
                for share in ("p50", "p99")
            }
    return summary


def _rates(rounds: list[dict[str, Any]]) -> dict[str, float]:
    rates = [one["requests_per_s"] for one in rounds]
    return {"median": median(rates), "least": min(rates), "most": max(rates)}


@contextlib.contextmanager
def _running(command: list[str], *, port: int, ready: str = "") -> Iterator[int]:
    """Run a server until the context ends; yields its process id when it answers."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline_s = time.monotonic() + _START_LIMIT_S
            while not _answers(port, ready):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    log.seek(0)
                    raise SystemExit(f"{command} did not start: {log.read()[-2000:].decode()}")
                time.sleep(0.02)
            yield process.pid
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _answers(port: int, path: str) -> bool:
    try:
        if not path:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return True
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _memory_mib(pid: int) -> float:
    """Return the resident memory of a process and all below it, shared pages counted with their share."""
    total = 0.0
    for one in _family(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) / 1024
    return total


def _family(pid: int) -> list[int]:
    family = [pid]
    for one in family:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                family += [int(child) for child in (task / "children").read_text().split()]
    return family


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
