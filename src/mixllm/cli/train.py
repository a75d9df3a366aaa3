"""``mixllm train``: a routing log in, a model folder out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mixllm.cli.options import json_option
from mixllm.cli.output import print_json, print_line, seconds
from mixllm.cli.tables import cell, console, plain_table

if TYPE_CHECKING:
    from mixllm.cli.training_job import TrainingReport

__all__ = ["command"]


@click.command(name="train")
@click.option(
    "--data",
    "folder",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="A routing log, or an export of a store.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the model; replaced."
)
@click.option("--label", help="Column of the log whose values serve as tags; without it, the first that looks so.")
@click.option(
    "--tags",
    "tags_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Labels that `mixllm tag` wrote.",
)
@click.option("--clusters", type=click.IntRange(min=2), help="Take this many clusters of the queries as tags.")
@click.option(
    "--recipe", type=click.Choice(["mixllm", "paper"]), default="mixllm", show_default=True, help="What to train."
)
@click.option(
    "--families",
    help="What competes for each LLM, separated by commas, in the place of the recipe's: bayesian, forest, mlp, knn.",
)
@click.option("--reference", help="LLM whose mean cost is the scale of cost; without it, the strongest.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of folds and batches.")
@click.option("--fresh", is_flag=True, help="Encode the queries again, also where a stopped run left them.")
@json_option
def command(
    *,
    folder: Path,
    out: Path,
    label: str | None,
    tags_file: Path | None,
    clusters: int | None,
    recipe: str,
    families: str | None,
    reference: str | None,
    seed: int,
    fresh: bool,
    as_json: bool,
) -> None:
    """Train tags, embedding and predictors on a routing log.

    The model folder can be served (learning.model in the configuration) and loaded (Router.load). A fifth of the log
    is held out first to appraise the model; what is written has learned from all of it.
    """
    if sum(given is not None for given in (label, tags_file, clusters)) > 1:
        raise click.UsageError("Give one of --label, --tags and --clusters: tags come from one source.")
    from mixllm.cli.training_job import TrainingJob

    job = TrainingJob(
        data=folder,
        out=out.resolve(),  # a working directory that is replaced has no name any more
        label=label,
        tags_file=tags_file,
        clusters=clusters,
        recipe=recipe,
        reference=reference,
        seed=seed,
        fresh=fresh,
        families=None if families is None else tuple(name.strip() for name in families.split(",")),
    )
    from rich.console import Console

    with Console(stderr=True).status("Reading the log …") as status:
        report = job.run(lambda step: status.update(f"{step} …"))
    if as_json:
        print_json(report)
    else:
        _show(report, out)


def _show(report: TrainingReport, out: Path) -> None:
    print_line(
        f"{report.queries:,} queries, {len(report.llms)} LLMs, {len(report.tags)} tags ({report.tag_source}), "
        f"{seconds(report.train_s)}"
    )
    accuracy = report.appraisal.tag_accuracy
    if accuracy is not None:
        print_line(f"Tags right on {report.appraisal.queries:,} held-out queries: {accuracy:.1%}")
    headings = ("quality bias", "calibration error", "quality in 90 %", "cost in 90 %", "cost forecast / cost")
    table = plain_table("LLM", *headings, right=headings, title="Forecasts against held-out outcomes")
    for llm, found in report.appraisal.llms.items():
        table.add_row(
            cell(llm),
            f"{found.quality_bias:+.3f}",
            f"{found.calibration_error:.3f}",
            _share(found.quality_coverage),
            _share(found.cost_coverage),
            "–" if found.cost_ratio is None else f"{found.cost_ratio:.3f}",
        )
    console().print(table)
    for target, choice in (("quality", report.quality_families), ("length", report.length_families)):
        if choice is not None:
            served = ", ".join(f"{llm}: {family}" for llm, family in zip(choice.llms, choice.families, strict=True))
            print_line(f"Families of {target}: {served}")
    print_line(f"Written: {out}")
    print_line(f"Serve it: put  learning: {{model: {out}}}  into mixllm.yaml, then  mixllm serve -c mixllm.yaml")


def _share(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.1%}"
