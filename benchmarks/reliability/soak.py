"""Load for a long time with many open streams beside it: memory, errors, and whether everything is kept.

    python -m benchmarks.reliability.soak [--minutes 10] [--streams 1000] [--workers 1] [--share 0.7] [--feedback 0.2]

One gateway on a SQLite file and one LLM that answers at once. How much it manages is measured first, with the streams
already open (closed loop); then comes `--share` of that on a fixed schedule. At the end what clients have seen is
compared with what the store holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.measuring import store
from benchmarks.reliability.processes import Process, free_port, wait_until_listening
from benchmarks.reliability.reckoning import Known
from benchmarks.reliability.trend import trend
from benchmarks.serving.stub import SLOWLY

_CONNECTIONS = 64
_SATURATION_S = 15.0
_SAMPLE_S = 2.0
_WARM_UP_SHARE = 0.2
_SETTLE_S = 120.0
_MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--share", type=float, default=0.7, help="of what it manages")
    parser.add_argument("--feedback", type=float, default=0.2, help="share of the answers that are judged")
    parser.add_argument("--name", default="reliability_soak", help="of the result")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream, gateway = free_port(), free_port()
        config = folder / "mixllm.yaml"
        config.write_text(yaml.safe_dump(_config(upstream, gateway, folder, arguments)))
        stub = ["benchmarks.serving.stub", str(upstream)]
        stack.enter_context(Process(arguments=stub, port=upstream, log=folder / "upstream.log"))
        wait_until_listening(upstream)
        line = ["mixllm", "serve", "-c", str(config), "--log-level", "warning"]
        process = stack.enter_context(Process(arguments=line, port=gateway, log=folder / "gateway.log"))
        process.wait_until_ready()
        seen = asyncio.run(_soak(process, arguments))
        health = _settled(process)
        process.stop()
        result = _result(seen, health, Known(path=folder / "mixllm.db").rows(), arguments)
        result["log"] = (folder / "gateway.log").read_text()[-2000:]
    command = f"python -m benchmarks.reliability.soak {' '.join(sys.argv[1:])}".strip()
    print(store(arguments.name, result, command=command).read_text())


async def _soak(process: Process, arguments: argparse.Namespace) -> dict[str, Any]:
    streams = Streams(process.url, arguments.streams)
    holding = asyncio.create_task(streams.hold())
    while streams.open < arguments.streams:
        await asyncio.sleep(0.1)
    saturation = await _load(process.port, _SATURATION_S, "--feedback", str(arguments.feedback))
    rate = arguments.share * saturation["requests_per_s"]
    samples: list[tuple[float, float, int]] = []
    sampling = asyncio.create_task(_sample(process, streams, samples))
    seconds = 60.0 * arguments.minutes
    soak = await _load(process.port, seconds, f"{rate:.1f}", "--feedback", str(arguments.feedback))
    sampling.cancel()
    streams.ending = True
    await holding
    return {"saturation": saturation, "rate": rate, "soak": soak, "samples": samples, "streams": streams}


class Streams:
    """Streams that stay open: each that has ended is asked for again, until `ending`."""

    def __init__(self, url: str, number: int) -> None:
        self.url = url
        self.number = number
        self.open = 0
        self.sent = 0
        self.ending = False
        self.ends: Counter[str] = Counter()

    async def hold(self) -> None:
        """Keep them open."""
        async with aiohttp.ClientSession(
            self.url, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        ) as session:
            await asyncio.gather(*(self._hold_one(session, place) for place in range(self.number)))

    async def _hold_one(self, session: aiohttp.ClientSession, place: int) -> None:
        await asyncio.sleep(place * 0.01)  # So that they do not all end, and begin, together.
        text = f"Tell me {SLOWLY.decode()} of the sea, part {place}."
        body = {"model": "mixllm/auto", "stream": True, "messages": [{"role": "user", "content": text}]}
        while not self.ending:
            self.sent += 1
            async with session.post("/v1/chat/completions", json=body) as answer:
                self.open += 1
                last = b""
                async for line in answer.content:
                    last = line.strip() or last
                self.open -= 1
            self.ends["whole" if answer.status == 200 and last == b"data: [DONE]" else f"broken {answer.status}"] += 1


async def _load(port: int, seconds: float, *options: str) -> dict[str, Any]:
    line = ["-m", "benchmarks.serving.load", str(port), str(_CONNECTIONS), str(seconds), *options]
    child = await asyncio.create_subprocess_exec(sys.executable, *line, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    result: dict[str, Any] = json.loads(output)
    return result


async def _sample(process: Process, streams: Streams, samples: list[tuple[float, float, int]]) -> None:
    started_s = time.monotonic()
    while True:
        samples.append((time.monotonic() - started_s, process.rss_bytes() / _MIB, streams.open))
        await asyncio.sleep(_SAMPLE_S)


def _settled(process: Process) -> dict[str, Any]:
    """Return what the gateway says when it has learned all that there is, at the latest after a while."""
    deadline_s = time.monotonic() + _SETTLE_S
    before = -1
    while True:
        health = process.wait_until_ready()
        learning = health["learning"]
        if (learning["lag"] == 0 and learning["position"] == before) or time.monotonic() > deadline_s:
            return health
        before = learning["position"]
        time.sleep(1.0)  # The last outcomes may still wait for their commit.


def _result(
    seen: dict[str, Any], health: dict[str, Any], rows: dict[str, Any], arguments: argparse.Namespace
) -> dict[str, Any]:
    loads, streams = (seen["saturation"], seen["soak"]), seen["streams"]
    answered = sum(sum(load["statuses"].values()) for load in loads) + streams.sent
    acknowledged = sum(load["feedback"].get("200", 0) for load in loads)
    bad = {
        name: sum(count for load in loads for status, count in load[name].items() if status != "200")
        for name in ("statuses", "feedback")
    }
    samples = seen["samples"]
    warm = samples[int(len(samples) * _WARM_UP_SHARE) :]
    learning = health["learning"]
    accounted = {
        "requests": answered,
        "decisions": rows["decisions"],
        "outcomes": rows["outcomes"],
        "feedback_acknowledged": acknowledged,
        "feedback_rows": rows["feedback"],
        "learned_position": learning["position"],
        "last_event": rows["last_seq"],
    }
    return {
        "minutes": arguments.minutes,
        "workers": arguments.workers,
        "open_streams": arguments.streams,
        "saturation_requests_per_s": seen["saturation"]["requests_per_s"],
        "offered_requests_per_s": round(seen["rate"], 1),
        "answered_requests_per_s": seen["soak"]["requests_per_s"],
        "ms": seen["soak"]["ms"],
        "errors": {**bad, "unanswered": sum(load["unanswered"] for load in loads), "streams": _broken(streams)},
        "first_errors_at_s": seen["soak"]["first_errors_at_s"],
        "streams_ended": dict(streams.ends),
        "streams_open_at_least": min((count for *_, count in warm), default=0),
        "memory_mib": trend([at_s for at_s, *_ in warm], [mib for _, mib, _ in warm]),
        "memory_samples_mib": [round(mib, 1) for _, mib, _ in samples],
        "accounted": accounted,
        "all_accounted": answered == rows["decisions"] == rows["outcomes"]
        and acknowledged == rows["feedback"]
        and learning["position"] == rows["last_seq"],
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def _broken(streams: Streams) -> int:
    return sum(count for end, count in streams.ends.items() if end != "whole")


def _config(upstream: int, gateway: int, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    llms = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": f"http://127.0.0.1:{upstream}/v1"},
            "model_info": {"input_cost_per_token": price, "output_cost_per_token": price},
        }
        for name, price in (("small", 1e-7), ("middle", 1e-6), ("large", 1e-5))
    ]
    return {
        "model_list": llms,
        "store": {"path": str(folder / "mixllm.db")},
        "gateway": {"port": gateway, "workers": arguments.workers},
    }


if __name__ == "__main__":
    main()
