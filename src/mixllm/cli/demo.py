"""``mixllm demo``: watch MixLLM route real queries over a pool of LLMs, learn from feedback and save money."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path

import click
import msgspec
from rich.console import Console

from mixllm.demo.run import run_demo
from mixllm.demo.screen import final_table, per_llm_table
from mixllm.demo.settings import DemoSettings
from mixllm.demo.tally import DemoResult

__all__ = ["command"]


@click.command(name="demo")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of a routing log; without it, a synthetic one is made.",
)
@click.option("--queries", default=1500, show_default=True, help="Queries to send.")
@click.option("--concurrency", default=32, show_default=True, help="Requests under way at the same time.")
@click.option("--speed", default=20.0, show_default=True, help="How many times faster than recorded the LLMs answer.")
@click.option("--seed", default=0, show_default=True, help="Of the queries' order, and of the synthetic log.")
@click.option("--lambda", "trade_off", default=7.0, show_default=True, help="The larger, the more quality counts.")
@click.option("--keep", is_flag=True, help="Leave the gateway up at the end, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    data: Path | None,
    queries: int,
    concurrency: int,
    speed: float,
    seed: int,
    trade_off: float,
    keep: bool,
    as_json: bool,
) -> None:
    """Watch MixLLM route real queries over a pool of LLMs, learn from feedback and save money.

    Starts a pool that plays back recorded (or synthetic) answers and a real gateway in front of it, sends queries
    through the official openai client, gives the recorded quality as feedback, and compares with always asking the
    strongest LLM.
    """
    settings = DemoSettings(
        data=data, queries=queries, concurrency=concurrency, speed=speed, seed=seed, trade_off=trade_off
    )
    console = Console(stderr=as_json)

    def finish(result: DemoResult, url: str) -> None:
        if as_json:
            click.echo(msgspec.json.encode(result).decode())
        else:
            _show(result, console)
        if keep:
            _keep(url, console)

    run_demo(settings, console=console, on_result=finish)


def _show(result: DemoResult, console: Console) -> None:
    console.print(per_llm_table(result.per_llm, result.reference))
    console.print(final_table(result))
    saved = 1.0 - result.cost_ratio
    console.print(
        f"{result.queries} queries in {result.seconds:.0f} s: [bold]{result.quality_ratio:.1%}[/bold] of the quality "
        f"of always asking {result.reference}, [bold]{saved:.1%}[/bold] of its cost saved. The gateway "
        f"added {result.overhead_ms.p50:.2f} ms (p50), {result.overhead_ms.p99:.2f} ms (p99)."
    )
    if result.failed:
        console.print(f"[red]{result.failed} requests failed.[/red]")


def _keep(url: str, console: Console) -> None:
    console.print("The gateway is still up, until Ctrl-C. Try it:")
    console.print(
        f"curl -s {url}/v1/chat/completions -H 'Content-Type: application/json' "
        '-d \'{"model": "mixllm/auto", "messages": [{"role": "user", "content": "What is 12 times 7?"}]}\'',
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with contextlib.suppress(KeyboardInterrupt):
        stop.wait()
