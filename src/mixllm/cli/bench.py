"""``mixllm bench``: compare routers on routing logs."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mixllm.cli.options import json_option
from mixllm.cli.output import print_json, print_line
from mixllm.cli.tables import cell, console, plain_table
from mixllm.encoders import StaticEncoder
from mixllm.errors import MixLLMError
from mixllm.evaluation.bench import BenchSettings, run_bench
from mixllm.evaluation.bench import Progress as TrialDone
from mixllm.evaluation.metrics import METRICS
from mixllm.evaluation.plots import write_figures
from mixllm.evaluation.registry import ROUTERS
from mixllm.evaluation.results import DatasetResults, write_results
from mixllm.evaluation.splits import Dataset, prepare
from mixllm.evaluation.tables import HEADINGS, number_text, ranked
from mixllm.logs import RoutingLog, open_log

__all__ = ["command"]


@click.command(name="bench")
@click.option(
    "--data",
    "folders",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    required=True,
    help="A routing log; repeat it for more.",
)
@click.option("--splits", type=click.IntRange(min=1), default=10, show_default=True, help="Random splits of each log.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench-results"),
    show_default=True,
    help="Folder of the results. A run that was stopped goes on from what is there.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the splits.")
@click.option("--routers", help=f"Which to run, with commas between: {', '.join(ROUTERS)}, single, single:LLM.")
@click.option("--label", help="Column of the log whose values serve as tags; without it, the first that looks so.")
@click.option(
    "--reference",
    "references",
    multiple=True,
    help="LLM to compare with, where a log has it; without one, the strongest. Repeat it for more logs.",
)
@click.option("--by-domain", is_flag=True, help="Hold out one value of the label at a time, not random fifths.")
@click.option("--log-cost", is_flag=True, help="Draw the figures with a logarithmic axis of cost.")
@click.option("--fresh", is_flag=True, help="Run everything again, whatever is in the folder.")
@json_option
def command(
    *,
    folders: tuple[Path, ...],
    splits: int,
    out: Path,
    seed: int,
    routers: str | None,
    label: str | None,
    references: tuple[str, ...],
    by_domain: bool,
    log_cost: bool,
    fresh: bool,
    as_json: bool,
) -> None:
    """Compare routers on routing logs.

    Every router learns from four fifths of a log and predicts the rest, split by split. The folder gets results.json,
    results.md and a figure for each log.
    """
    names = None if routers is None else tuple(name.strip() for name in routers.split(",") if name.strip())
    settings = BenchSettings(routers=names, splits=splits, seed=seed, by_domain=by_domain, out=out, fresh=fresh)
    screen = Console(stderr=True)
    with screen.status("Reading and encoding the logs …"):
        datasets = _datasets(folders, label=label, references=references)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
    ) as bars:
        tasks = {dataset.log.name: bars.add_task(dataset.log.name, total=None) for dataset in datasets}

        def show(done: TrialDone) -> None:
            bars.update(
                tasks[done.dataset],
                total=done.total,
                completed=done.done,
                description=f"{done.dataset}, split {done.split}, {done.router}",
            )

        results = run_bench(datasets, settings, on_progress=show)
    write_results(results, out)
    write_figures(results, out, log_cost=log_cost)
    if as_json:
        print_json(results)
        return
    for name, found in results.datasets.items():
        _show(name, found)
    print_line(f"Written: {out}/results.json, results.md and the figures.")


def _datasets(folders: tuple[Path, ...], *, label: str | None, references: tuple[str, ...]) -> list[Dataset]:
    logs = [open_log(folder) for folder in folders]
    _check_references(references, logs)
    encoder = StaticEncoder.wordllama()
    return [
        prepare(
            log,
            encoder=encoder,
            label=label,
            reference=next((reference for reference in references if reference in log.llms), None),
        )
        for log in logs
    ]


def _check_references(references: tuple[str, ...], logs: list[RoutingLog]) -> None:
    for reference in references:
        if not any(reference in log.llms for log in logs):
            known = sorted({llm for log in logs for llm in log.llms})
            raise MixLLMError(f"No log has an LLM named {reference!r}. They have: {', '.join(known)}.")


def _show(name: str, found: DatasetResults) -> None:
    headings = [HEADINGS[metric] for metric in METRICS]
    table = plain_table(
        "router",
        *headings,
        right=tuple(headings),
        title=f"{name}: shares of {found.reference}'s quality and cost, {found.splits} splits",
    )
    for router in ranked(found):
        numbers = found.routers[router]
        table.add_row(cell(router), *(number_text(numbers[metric]) for metric in METRICS))
    console().print(table)
    print_line("")
