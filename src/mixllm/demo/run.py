"""The demo from start to end."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console
from rich.live import Live

from mixllm.demo.arrivals import planned_arrivals
from mixllm.demo.processes import ServerProcess
from mixllm.demo.screen import LiveView
from mixllm.demo.settings import DemoSettings
from mixllm.demo.tally import DemoResult, Tally
from mixllm.demo.traffic import Traffic
from mixllm.errors import InvalidValueError
from mixllm.logs import RoutingLog, read_log
from mixllm.playback import AnswerBook, synthetic_log
from mixllm.units import TOKENS_PER_MILLION

__all__ = ["OnResult", "run_demo"]

OnResult = Callable[[DemoResult, str], None]
"""Called with the result and the gateway's URL while the gateway is still up; the gateway stops when it returns."""

_REFRESHES_PER_S = 4


def run_demo(settings: DemoSettings, *, console: Console, on_result: OnResult) -> DemoResult:
    """Start pool and gateway, send the queries, and return what came of them.

    Parameters
    ----------
    settings
        What to do.
    console
        Shows the run.
    on_result
        Called at the end, before pool and gateway stop.

    Raises
    ------
    LogError
        Where the routing log cannot be read.
    MixLLMError
        Where a server does not start.
    """
    log = _read(settings)
    book = AnswerBook(log=log)
    reference = log.strongest()
    order = np.random.default_rng(settings.seed).permutation(len(log))
    times_s = planned_arrivals(settings, say=console.print)
    rows = [int(row) for row in (order[: settings.queries] if times_s is None else np.resize(order, len(times_s)))]
    tally = Tally(log=log, reference=reference, trade_off=settings.played_trade_off)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mixllm-demo-")))
        pool_port, gateway_port = _free_port(), _free_port()
        config_path = folder / "mixllm.yaml"
        config_path.write_text(yaml.safe_dump(_config(settings, book, reference, pool_port, gateway_port, folder)))
        console.print(f"starting a pool of {len(log.llms)} LLMs and the gateway …")
        stack.enter_context(_pool(settings, pool_port))
        stack.enter_context(_gateway(config_path, gateway_port))
        url = f"http://127.0.0.1:{gateway_port}"
        view = LiveView(tally=tally, total=len(rows))
        traffic = Traffic(
            book=book,
            tally=tally,
            base_url=f"{url}/v1",
            speed=settings.played_speed,
            deadline_s=None if times_s is None else settings.deadline_s,
            on_answer=view.advance,
        )
        started_s = time.monotonic()
        with Live(view, console=console, refresh_per_second=_REFRESHES_PER_S):
            if times_s is None:
                asyncio.run(traffic.send(rows, concurrency=settings.concurrency))
            else:
                asyncio.run(traffic.send_at(rows, times_s / settings.played_speed))
        result = tally.result(
            seed=settings.seed,
            seconds=time.monotonic() - started_s,
            arrivals=settings.arrivals,
            forecasts=traffic.forecasts.figures(),
        )
        on_result(result, url)
    return result


def _read(settings: DemoSettings) -> RoutingLog:
    if settings.data is None:
        return synthetic_log(queries=settings.queries, seed=settings.seed)
    log = read_log(settings.data)
    complete = np.flatnonzero(log.asked.all(axis=1))
    if len(complete) == 0:
        raise InvalidValueError("data", str(settings.data), "a log with queries that every LLM has answered")
    return log if len(complete) == len(log) else log.select(complete)


def _config(
    settings: DemoSettings, book: AnswerBook, reference: str, pool_port: int, gateway_port: int, folder: Path
) -> dict[str, object]:
    return {
        "model_list": [_entry(book, llm, pool_port) for llm in book.llms],
        "routing": {
            "lambda": settings.played_trade_off,
            "reference_llm": reference,
            "max_cost_share": settings.max_cost_share,
            "caution": 0.3,
            "caution_judgements": 300.0,
            # A short run has no time to lose on exploring: each LLM is tried some 25 times, then luck decides little.
            "policy": {
                "name": "thompson",
                "scale": 0.15,
                "early_judgements": 0.0,
                "warmup_judgements": 25,
                "warmup_share": 0.6,
            },
        },
        # Prices tell much of a pool that is made of a few families: runs then differ less in what they settle on.
        "learning": {"recipe": {"level_precision": 300.0}},
        "store": {"path": str(folder / "demo.db")},
        "gateway": {"port": gateway_port},
    }


def _entry(book: AnswerBook, llm: str, pool_port: int) -> dict[str, object]:
    price = book.price(llm)
    return {
        "model_name": llm,
        "litellm_params": {"model": f"openai/{llm}", "api_base": f"http://127.0.0.1:{pool_port}/v1"},
        "model_info": {
            "input_cost_per_token": price.usd_per_million_tokens_in / TOKENS_PER_MILLION,
            "output_cost_per_token": price.usd_per_million_tokens_out / TOKENS_PER_MILLION,
        },
    }


def _pool(settings: DemoSettings, port: int) -> ServerProcess:
    source = (
        ["--synthetic", "--queries", str(settings.queries)] if settings.data is None else ["--data", str(settings.data)]
    )
    return ServerProcess(
        arguments=[
            "playback",
            *source,
            *("--seed", str(settings.seed), "--port", str(port), "--time-scale", str(1.0 / settings.played_speed)),
            *(() if settings.arrivals == "closed" else ("--capacity", str(settings.capacity))),
        ],
        health_url=f"http://127.0.0.1:{port}/health",
    )


def _gateway(config_path: Path, port: int) -> ServerProcess:
    return ServerProcess(
        arguments=["serve", "--config", str(config_path)], health_url=f"http://127.0.0.1:{port}/health/ready"
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
