"""What the gateway adds: the same requests to the pool directly and through the gateway, in one run, at equal load.

Pool, gateway and load each have a process of their own, so on two cores they compete; the difference of the two
sides is what counts. Requests are sent on a fixed schedule (open loop), and late answers do not slow the schedule down.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml

from benchmarks.measuring import store, summary_ms
from mixllm.demo.processes import ServerProcess
from mixllm.playback import AnswerBook, synthetic_log
from mixllm.units import TOKENS_PER_MILLION

_QUERIES = 2000
_SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement")
    parser.add_argument("--rates", type=float, nargs="+", default=[50.0, 200.0], help="requests per second")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions, sides alternating")
    arguments = parser.parse_args()
    book = AnswerBook(log=synthetic_log(queries=_QUERIES, seed=_SEED))
    pool_port, gateway_port = _free_port(), _free_port()
    result: dict[str, Any] = {"rates": {}}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = folder / "mixllm.yaml"
        config.write_text(yaml.safe_dump(_config(book, pool_port, gateway_port, folder)))
        stack.enter_context(
            _server(
                [
                    "playback",
                    "--synthetic",
                    "--queries",
                    str(_QUERIES),
                    "--seed",
                    str(_SEED),
                    "--port",
                    str(pool_port),
                    "--time-scale",
                    "0",
                ],
                f"http://127.0.0.1:{pool_port}/health",
            )
        )
        stack.enter_context(
            _server(["serve", "--config", str(config)], f"http://127.0.0.1:{gateway_port}/health/ready")
        )
        sides = {
            "direct": (f"http://127.0.0.1:{pool_port}", book.llms[0]),
            "gateway": (f"http://127.0.0.1:{gateway_port}", "mixllm/auto"),
        }
        for rate in arguments.rates:
            result["rates"][f"{rate:g}/s"] = asyncio.run(
                _compare(book, sides, rate, arguments.seconds, arguments.rounds)
            )
    path = store("gateway_latency", result, command="python -m benchmarks.gateway_latency")
    print(path.read_text())


async def _compare(
    book: AnswerBook, sides: dict[str, tuple[str, str]], rate: float, seconds: float, rounds: int
) -> dict[str, Any]:
    measured: dict[str, list[float]] = {side: [] for side in sides}
    overheads_ms: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for _ in range(rounds + 1):
            for side, (base_url, model) in sides.items():
                times_s, headers_ms = await _load(
                    session, book, f"{base_url}/v1/chat/completions", model, rate, seconds
                )
                measured[side].extend(times_s)
                overheads_ms.extend(headers_ms)
    direct, gateway = summary_ms(measured["direct"]), summary_ms(measured["gateway"])
    return {
        "direct_ms": direct,
        "gateway_ms": gateway,
        "added_ms": {name: round(gateway[name] - direct[name], 4) for name in ("p10", "p50", "p99")},
        "overhead_header_ms": summary_ms([milliseconds / 1000 for milliseconds in overheads_ms]),
    }


async def _load(
    session: aiohttp.ClientSession, book: AnswerBook, url: str, model: str, rate: float, seconds: float
) -> tuple[list[float], list[float]]:
    times_s: list[float] = []
    overheads_ms: list[float] = []

    async def ask(prompt: str) -> None:
        body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": prompt}]})
        started_s = time.perf_counter()
        async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
            await answer.read()
            assert answer.status == 200, answer.status
        times_s.append(time.perf_counter() - started_s)
        if "x-mixllm-overhead-ms" in answer.headers:
            overheads_ms.append(float(answer.headers["x-mixllm-overhead-ms"]))

    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for place in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, started_s + place / rate - time.perf_counter()))
            tasks.create_task(ask(book.log.prompts[place % _QUERIES]))
    return times_s, overheads_ms


def _config(book: AnswerBook, pool_port: int, gateway_port: int, folder: Path) -> dict[str, object]:
    return {
        "model_list": [
            {
                "model_name": llm,
                "litellm_params": {"model": f"openai/{llm}", "api_base": f"http://127.0.0.1:{pool_port}/v1"},
                "model_info": {
                    "input_cost_per_token": book.price(llm).usd_per_million_tokens_in / TOKENS_PER_MILLION,
                    "output_cost_per_token": book.price(llm).usd_per_million_tokens_out / TOKENS_PER_MILLION,
                },
            }
            for llm in book.llms
        ],
        "store": {"path": str(folder / "bench.db")},
        "gateway": {"port": gateway_port},
    }


def _server(arguments: list[str], health_url: str) -> ServerProcess:
    return ServerProcess(arguments=arguments, health_url=health_url)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
