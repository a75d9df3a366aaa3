"""``mixllm simulate``: let policies learn on a stream made of a routing log."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click
from rich.console import Console

from mixllm.assembly import build_untrained_encoder
from mixllm.cli.options import json_option
from mixllm.cli.output import print_json, print_line
from mixllm.cli.progress import progress_bar
from mixllm.cli.tables import cell, console, plain_table
from mixllm.config import EncoderConfig, TagsConfig
from mixllm.errors import MixLLMError
from mixllm.evaluation.simulation.players import OURS, POLICIES, checked_policies
from mixllm.evaluation.simulation.plots import write_figures
from mixllm.evaluation.simulation.results import RESULTS_FILE, SimulationResults, ranked, write_results
from mixllm.evaluation.simulation.schedule import Schedule, read_schedule
from mixllm.evaluation.simulation.simulating import Done, SimulationSettings, simulate
from mixllm.evaluation.simulation.stream import FeedbackMode, Order, StreamSettings
from mixllm.evaluation.splits import Dataset, prepare
from mixllm.evaluation.tables import number_text
from mixllm.logs import open_log

__all__ = ["command"]


@click.command(name="simulate")
@click.option("--data", "folder", type=click.Path(path_type=Path, exists=True), required=True, help="The routing log.")
@click.option("--queries", type=click.IntRange(min=3), help="Queries of each stream; without it, the whole log.")
@click.option("--seeds", type=click.IntRange(min=1), default=10, show_default=True, help="Streams to play.")
@click.option(
    "--first-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the first stream."
)
@click.option(
    "--order",
    type=click.Choice(get_args(Order)),
    default="random",
    show_default=True,
    help="In which order queries arrive.",
)
@click.option(
    "--feedback",
    type=click.Choice(get_args(FeedbackMode)),
    default="refined",
    show_default=True,
    help="Scores; thumbs, up above a quality of 0.7 within 15 s; or no judgement at all.",
)
@click.option(
    "--feedback-delay",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Tell what came of a query after so many further decisions.",
)
@click.option(
    "--schedule",
    "schedule_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A YAML file of changes of the pool.",
)
@click.option("--policies", help=f"Which to run, with commas between: {', '.join(POLICIES)}.")
@click.option(
    "--trade-off",
    type=click.FloatRange(min=0),
    default=1.4,
    show_default=True,
    help="The λ of the reward and of MixLLM.",
)
@click.option("--label", help="Column of the log to order by; without it, the first that looks like a domain.")
@click.option("--reference", help="LLM whose mean cost is the scale of cost; without it, the strongest.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of results and figures. A simulation that was stopped goes on from what is there.",
)
@click.option("--fresh", is_flag=True, help="Run everything again, whatever is in the folder.")
@json_option
def command(
    *,
    folder: Path,
    queries: int | None,
    seeds: int,
    first_seed: int,
    order: Order,
    feedback: FeedbackMode,
    feedback_delay: int,
    schedule_path: Path | None,
    policies: str | None,
    trade_off: float,
    label: str | None,
    reference: str | None,
    out: Path | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Let policies learn on a stream made of a routing log.

    Each policy starts from nothing, chooses an LLM for one query after the other, and is told what that LLM alone
    made of it. The reward of an answer is λ/(1+λ) · quality − 1/(1+λ) · cost / mean cost of the reference LLM.
    """
    names = None if policies is None else [name.strip() for name in policies.split(",") if name.strip()]
    settings = SimulationSettings(
        stream=StreamSettings(
            queries=queries,
            order=order,
            feedback=feedback,
            feedback_delay=feedback_delay,
            schedule=Schedule() if schedule_path is None else read_schedule(schedule_path),
            trade_off=trade_off,
        ),
        policies=checked_policies(names),
        seeds=seeds,
        first_seed=first_seed,
        out=out,
        fresh=fresh,
    )
    dataset = _dataset(folder, label=label, reference=reference)
    with progress_bar("Simulating") as advance:

        def show(done: Done) -> None:
            advance(done.done, done.total)

        results = simulate(dataset, settings, on_progress=show)
    if out is not None:
        write_results(results, out)
        write_figures(results, out)
    if as_json:
        print_json(results)
        return
    _show(results)
    if out is not None:
        print_line(f"Written: {out / RESULTS_FILE} and the figures.")


def _dataset(folder: Path, *, label: str | None, reference: str | None) -> Dataset:
    with Console(stderr=True).status("Reading and encoding the log …"):
        log = open_log(folder)
        if reference is not None and reference not in log.llms:
            raise MixLLMError(f"The log has no LLM named {reference!r}. It has: {', '.join(log.llms)}.")
        return prepare(
            log, encoder=build_untrained_encoder(EncoderConfig(), TagsConfig()), label=label, reference=reference
        )


def _show(results: SimulationResults) -> None:
    headings = ("reward", "regret", "last third", "quality", f"{OURS} ahead by")
    table = plain_table(
        "policy",
        *headings,
        right=headings,
        title=f"{results.log}: {results.queries} queries, {len(results.seeds)} seeds, sums over a stream",
    )
    for policy in ranked(results):
        found, lead = results.policies[policy], results.lead.get(policy)
        table.add_row(
            cell(policy),
            number_text(found.reward),
            number_text(found.regret),
            number_text(found.last_third_reward),
            number_text(found.quality),
            "" if lead is None else f"{number_text(lead.reward)} ({lead.seeds_ahead} of {len(results.seeds)} seeds)",
        )
    console().print(table)
