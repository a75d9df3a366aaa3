"""What clients see of LLMs that fail: the share of good answers and their times, with and without fallbacks.

The two best of the pool's six LLMs have the fault (the best alone where it is lateness). Plain calls and streams in
turn, in a closed loop of some clients.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.measuring import store, summary_ms
from mixllm.demo.processes import ServerProcess
from mixllm.playback import (
    AnswerBook,
    BrokenStream,
    ConnectionDrop,
    ErrorStatus,
    Fault,
    Hang,
    PlaybackServer,
    Slow,
    synthetic_log,
)
from mixllm.units import TOKENS_PER_MILLION

_QUERIES = 500
_SEED = 0
_QUESTION = "What is 2 + 2?"
"""Always the same, so that the same two LLMs are the best for every request."""

_LIMIT_S = 1.0
"""Time limit of a call, so that hangs end within the measurement."""

_FAULTS: dict[str, list[Fault]] = {
    "none": [],
    "30 % answer 500": [ErrorStatus(status=500, rate=0.3)],
    "30 % answer 429": [ErrorStatus(status=429, retry_after_s=5, rate=0.3)],
    "30 % drop the connection": [ConnectionDrop(rate=0.3)],
    "30 % hang": [Hang(rate=0.3)],
    "all answer 500": [ErrorStatus(status=500)],
    "all hang": [Hang()],
    "30 % cut the stream before its first chunk": [BrokenStream(rate=0.3, after_chunks=0)],
    "30 % cut the stream after its second chunk": [BrokenStream(rate=0.3, after_chunks=2)],
    "the best is 0.5 s late in 10 %": [Slow(rate=0.1, add_s=0.5)],
}
_WAYS: dict[str, dict[str, Any]] = {
    "one attempt": {"max_attempts": 1, "breaker": {"enabled": False}},
    "default": {},
    "hedged": {"hedge": {"enabled": True, "factor": 0.01, "min_delay_s": 0.15, "max_share": 0.2}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=600, help="requests of each scenario")
    parser.add_argument("--clients", type=int, default=16, help="requests under way")
    arguments = parser.parse_args()
    book = AnswerBook(log=synthetic_log(queries=_QUERIES, seed=_SEED))
    result: dict[str, Any] = {"requests": arguments.requests, "clients": arguments.clients, "scenarios": {}}
    with PlaybackServer(book, time_scale=0, seed=_SEED) as pool:
        for name, faults in _FAULTS.items():
            for way, calls in _WAYS.items():
                measured = _measure(pool, faults, calls, arguments.requests, arguments.clients)
                result["scenarios"].setdefault(name, {})[way] = measured
                print(name, "|", way, "|", measured, flush=True)
    print(store("faults", result, command="python -m benchmarks.faults"))


def _measure(pool: PlaybackServer, faults: list[Fault], calls: dict[str, Any], requests: int, clients: int) -> Any:
    for llm in pool.book.llms:
        pool.put_faults(llm)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mixllm.yaml"
        path.write_text(yaml.safe_dump(_config(pool, Path(folder) / "mixllm.db", port, calls)))
        with ServerProcess(arguments=["serve", "--config", str(path)], health_url=f"{url}/health/ready"):
            return asyncio.run(_load(pool, url, faults, requests, clients))


async def _load(pool: PlaybackServer, url: str, faults: list[Fault], requests: int, clients: int) -> dict[str, Any]:
    times_s: list[float] = []
    seen: Counter[str] = Counter()
    async with aiohttp.ClientSession(url) as session:
        body = {"model": "mixllm/auto", "messages": [{"role": "user", "content": _QUESTION}]}
        async with session.post("/v1/route", json=body) as answer:
            candidates = (await answer.json())["candidates"]
        for one in sorted(candidates, key=lambda one: -one["score"])[
            : 1 if any(isinstance(fault, Slow) for fault in faults) else 2
        ]:
            pool.put_faults(one["llm"], *faults)
        turns = iter(range(requests))

        async def client() -> None:
            for turn in turns:
                chat = {**body, "stream": turn % 2 > 0}
                started_s = time.perf_counter()
                async with session.post("/v1/chat/completions", json=chat) as answer:
                    content = await answer.read()
                whole = answer.status == 200 and (not chat["stream"] or content.endswith(b"data: [DONE]\n\n"))
                seen["good"] += whole
                seen["bad"] += not whole
                seen["calls"] += int(answer.headers.get("x-mixllm-attempts", 1))
                seen["hedged"] += "x-mixllm-hedged" in answer.headers
                if whole:
                    times_s.append(time.perf_counter() - started_s)

        await asyncio.gather(*(client() for _ in range(clients)))
    return {
        "good_share": round(seen["good"] / requests, 4),
        "calls_per_request": round(seen["calls"] / requests, 3),
        "hedged_share": round(seen["hedged"] / requests, 4),
        "good_ms": summary_ms(times_s) if times_s else None,
    }


def _config(pool: PlaybackServer, db: Path, port: int, calls: dict[str, Any]) -> dict[str, Any]:
    entries = []
    # An order that stays whatever is learned on the way: by public score, and λ is large.
    for place, spec in enumerate(pool.llm_specs()):
        assert spec.price is not None
        entries.append(
            {
                "model_name": spec.name,
                "litellm_params": {"model": spec.upstream_model, "api_base": spec.api_base, "timeout": _LIMIT_S},
                "model_info": {
                    "input_cost_per_token": spec.price.usd_per_million_tokens_in / TOKENS_PER_MILLION,
                    "public_score": 0.99 - 0.15 * place,
                    "output_cost_per_token": spec.price.usd_per_million_tokens_out / TOKENS_PER_MILLION,
                },
            }
        )
    return {
        "model_list": entries,
        "store": {"path": str(db)},
        "gateway": {"port": port},
        "calls": calls,
        "routing": {"lambda": 1000, "policy": {"name": "greedy"}},
    }


if __name__ == "__main__":
    main()
