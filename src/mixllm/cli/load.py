"""``mixllm load``: routers under load, in simulated time."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click
from rich.console import Console

from mixllm.assembly import build_encoder
from mixllm.cli.options import json_option
from mixllm.cli.output import print_json, print_line
from mixllm.cli.progress import progress_bar
from mixllm.cli.tables import cell, console, plain_table
from mixllm.config import EncoderConfig
from mixllm.errors import MixLLMError
from mixllm.evaluation.load.arrivals import ArrivalKind, Surge
from mixllm.evaluation.load.endpoint import EndpointSpec, Outage, SlowTime
from mixllm.evaluation.load.loading import OURS, TRADE_OFFS, LoadDone, LoadSettings, load_test
from mixllm.evaluation.load.players import FeedbackKind
from mixllm.evaluation.load.plots import write_load_figures
from mixllm.evaluation.load.results import RESULTS_FILE, LoadResults, write_results
from mixllm.evaluation.splits import Dataset, prepare
from mixllm.evaluation.tables import number_text
from mixllm.logs import open_log

__all__ = ["command"]


@click.command(name="load")
@click.option("--data", "folder", type=click.Path(path_type=Path, exists=True), required=True, help="The routing log.")
@click.option("--routers", default="mixllm,knn,tag-mean", show_default=True, help="As in mixllm bench, commas between.")
@click.option("--loads", default="0.5", show_default=True, help="Shares of the pool's capacity, commas between.")
@click.option("--trade-offs", help="The λ to run each router at, commas between.")
@click.option("--shown", type=click.FloatRange(min=0), default=1.4, show_default=True, help="The λ of the timelines.")
@click.option(
    "--arrivals",
    type=click.Choice(get_args(ArrivalKind)),
    default="paper",
    show_default=True,
    help="How queries arrive.",
)
@click.option("--trace", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Arrivals to follow.")
@click.option(
    "--speeds",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="llmperf's measurements, for a log without latencies.",
)
@click.option(
    "--servers", type=click.IntRange(min=1), default=2, show_default=True, help="Calls an LLM serves at a time."
)
@click.option("--queue", type=click.IntRange(min=0), help="Calls that wait at most; else what a deadline serves.")
@click.option("--rpm", type=click.IntRange(min=1), help="Requests per minute of each LLM.")
@click.option("--tpm", type=click.IntRange(min=1), help="Tokens per minute of each LLM.")
@click.option("--deadline", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True, help="τ, s.")
@click.option("--duration", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Of a stream, s.")
@click.option("--surge", metavar="FROM:UNTIL:FACTOR", help="A time of another rate, in seconds.")
@click.option("--slow", multiple=True, metavar="LLM:FROM:UNTIL:FACTOR", help="A time in which an LLM is slower.")
@click.option("--outage", multiple=True, metavar="LLM:FROM:UNTIL", help="A time in which an LLM refuses.")
@click.option("--attempts", type=click.IntRange(min=1), default=3, show_default=True, help="LLMs that MixLLM tries.")
@click.option(
    "--baseline-attempts", type=click.IntRange(min=1), default=1, show_default=True, help="LLMs that the others try."
)
@click.option("--untold", is_flag=True, help="MixLLM is not told how many calls an LLM serves at a time.")
@click.option(
    "--feedback",
    type=click.Choice(get_args(FeedbackKind)),
    default="none",
    show_default=True,
    help="What MixLLM is told.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Splits and streams.")
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the first one.")
@click.option("--label", help="Column of the log that names domains; without it, the first that looks like one.")
@click.option("--reference", help="LLM whose quality and cost are 1; without it, the strongest.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of results and figures.")
@json_option
def command(
    *,
    folder: Path,
    routers: str,
    loads: str,
    trade_offs: str | None,
    shown: float,
    arrivals: ArrivalKind,
    trace: Path | None,
    speeds: Path | None,
    servers: int,
    queue: int | None,
    rpm: int | None,
    tpm: int | None,
    deadline: float,
    duration: float,
    surge: str | None,
    slow: tuple[str, ...],
    outage: tuple[str, ...],
    attempts: int,
    baseline_attempts: int,
    untold: bool,
    feedback: FeedbackKind,
    seeds: int,
    first_seed: int,
    label: str | None,
    reference: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Put routers under load, in simulated time.

    Queries of a log arrive at LLMs that queue, limit and slow down; an answer after the deadline is worth nothing.
    MixLLM runs as the router itself on a clock that is set, all others by their predictions, in the same streams.
    """
    settings = LoadSettings(
        routers=tuple(name.strip() for name in routers.split(",") if name.strip()),
        loads=_numbers("--loads", loads),
        trade_offs=TRADE_OFFS if trade_offs is None else _numbers("--trade-offs", trade_offs),
        shown_trade_off=shown,
        arrivals=arrivals,
        trace=trace,
        speeds=speeds,
        endpoint=EndpointSpec(servers=servers, max_queue=queue, requests_per_minute=rpm, tokens_per_minute=tpm),
        deadline_s=deadline,
        duration_s=duration,
        surge=None if surge is None else _surge(surge),
        slow=tuple(_slow_time(text) for text in slow),
        outages=tuple(_outage(text) for text in outage),
        attempts=attempts,
        baseline_attempts=baseline_attempts,
        tells_servers=not untold,
        feedback=feedback,
        seeds=seeds,
        first_seed=first_seed,
    )
    dataset = _dataset(folder, label=label, reference=reference)
    with progress_bar("Simulating") as advance:

        def show(done: LoadDone) -> None:
            advance(done.done, done.total)

        results = load_test(dataset, settings, on_progress=show)
    if out is not None:
        write_results(results, out)
        write_load_figures(results, out)
    if as_json:
        print_json(results)
        return
    _show(results)
    if out is not None:
        print_line(f"Written: {out / RESULTS_FILE} and the figures.")


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of numbers with commas between.", param_hint=option) from None


def _surge(text: str) -> Surge:
    from_s, until_s, factor = _parts("--surge", text, 3)
    return Surge(from_s=float(from_s), until_s=float(until_s), factor=float(factor))


def _slow_time(text: str) -> SlowTime:
    llm, from_s, until_s, factor = _parts("--slow", text, 4)
    return SlowTime(llm=llm, from_s=float(from_s), until_s=float(until_s), factor=float(factor))


def _outage(text: str) -> Outage:
    llm, from_s, until_s = _parts("--outage", text, 3)
    return Outage(llm=llm, from_s=float(from_s), until_s=float(until_s))


def _parts(option: str, text: str, count: int) -> list[str]:
    # An LLM's name may have colons of its own: what follows it has none.
    parts = text.rsplit(":", count - 1)
    numbers = parts if option == "--surge" else parts[1:]
    try:
        for number in numbers:
            float(number)
    except ValueError:
        numbers = []
    if len(parts) != count or not numbers:
        raise click.BadParameter(f"{text!r} is not of the form that the help shows.", param_hint=option)
    return parts


def _dataset(folder: Path, *, label: str | None, reference: str | None) -> Dataset:
    with Console(stderr=True).status("Reading and encoding the log …"):
        log = open_log(folder)
        if reference is not None and reference not in log.llms:
            raise MixLLMError(f"The log has no LLM named {reference!r}. It has: {', '.join(log.llms)}.")
        return prepare(log, encoder=build_encoder(EncoderConfig()), label=label, reference=reference)


def _show(results: LoadResults) -> None:
    headings = ("λ", "quality", "cost", "missed", "turned away", "wait", "wait p99")
    for level in results.levels:
        load = "without the constraint of time" if level.load is None else f"load {level.load:g}"
        table = plain_table(
            "router",
            *headings,
            right=headings,
            title=f"{results.log}, {load}: {level.rate_per_s:.1f} queries/s, {len(results.seeds)} seeds",
        )
        for router, found in level.routers.items():
            for one in found.points:
                table.add_row(
                    cell(router),
                    f"{one.trade_off:g}",
                    *(number_text(number) for number in (one.quality, one.cost, one.missed, one.shed)),
                    *(number_text(number) for number in (one.wait_mean_s, one.wait_p99_s)),
                )
        console().print(table)
    if OURS in results.levels[0].routers:
        print_line(f"MixLLM ran at {results.simulated_s / results.took_s:.0f} times real time.")
