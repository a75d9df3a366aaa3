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
from mixllm.demo.settings import Arrivals, DemoSettings
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
@click.option(
    "--speed",
    type=float,
    help="How many times faster than recorded the LLMs answer.  [default: 20; 1 where queries come in their own time]",
)
@click.option(
    "--arrivals",
    type=click.Choice(["closed", "paper", "poisson", "bursts", "trace"]),
    default="closed",
    show_default=True,
    help="closed: each answer makes place for the next query. Else queries come in their own time, for --seconds.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Parquet with a column TIMESTAMP, for --arrivals trace.  [default: Azure's, where it lies beside --data]",
)
@click.option("--seconds", "duration_s", default=120.0, show_default=True, help="How long queries keep coming.")
@click.option("--rate", "rate_per_s", type=float, help="Mean queries in a second.  [default: the trace's own, else 5]")
@click.option("--capacity", default=8, show_default=True, help="Calls that each LLM serves at the same time.")
@click.option("--seed", default=0, show_default=True, help="Of the queries' order, and of the synthetic log.")
@click.option(
    "--lambda", "trade_off", type=float, help="The larger, the more quality counts.  [default: 20 with --data, else 7]"
)
@click.option(
    "--cost-share",
    "max_cost_share",
    default=0.43,
    show_default=True,
    help="Cost may be this share of always asking the strongest LLM; 0: whatever λ is worth.",
)
@click.option("--keep", is_flag=True, help="Leave the gateway up at the end, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    data: Path | None,
    queries: int,
    concurrency: int,
    speed: float | None,
    arrivals: Arrivals,
    trace: Path | None,
    duration_s: float,
    rate_per_s: float | None,
    capacity: int,
    seed: int,
    trade_off: float | None,
    max_cost_share: float,
    keep: bool,
    as_json: bool,
) -> None:
    """Watch MixLLM route real queries over a pool of LLMs, learn from feedback and save money.

    Starts a pool that plays back recorded (or synthetic) answers and a real gateway in front of it, sends queries
    through the official openai client, gives the recorded quality as feedback, and compares with always asking the
    strongest LLM.
    """
    settings = DemoSettings(
        data=data,
        queries=queries,
        concurrency=concurrency,
        speed=speed,
        seed=seed,
        trade_off=trade_off,
        max_cost_share=max_cost_share or None,
        arrivals=arrivals,
        trace=trace,
        duration_s=duration_s,
        rate_per_s=rate_per_s,
        capacity=capacity,
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
    if result.arrivals != "closed" and result.latency_s is not None:
        took = result.latency_s
        console.print(
            f"Answers took {took.p50:.2f} s (p50), {took.p95:.2f} s (p95), {took.p99:.2f} s (p99); {result.late} came "
            f"too late, {result.shed} were turned away."
        )
    if result.forecasts is not None:
        checked = result.forecasts
        console.print(
            f"Their time was forecast within {checked.median_error:.1%} (median), and {checked.within_90:.1%} of them "
            "lay in the 90 % interval."
        )
    if result.failed:
        console.print(f"[red]{result.failed} requests failed.[/red]")


def _keep(url: str, console: Console) -> None:
    stop = threading.Event()
    # Before the line is shown: whoever reads it may end this at once.
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    console.print("The gateway is still up, until Ctrl-C. Try it:")
    console.print(
        f"curl -s {url}/v1/chat/completions -H 'Content-Type: application/json' "
        '-d \'{"model": "mixllm/auto", "messages": [{"role": "user", "content": "What is 12 times 7?"}]}\'',
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    with contextlib.suppress(KeyboardInterrupt):
        stop.wait()
