"""``mixllm fine-tune``: an encoder that tells the domains of a log apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mixllm.cli.options import json_option
from mixllm.cli.output import print_json, print_line, seconds
from mixllm.errors import LogError, did_you_mean

if TYPE_CHECKING:
    from mixllm.logs import RoutingLog
    from mixllm.tags.fine_tuning import FineTuneReport, Progress

__all__ = ["command"]


@click.command(name="fine-tune")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="The routing log: a folder, or RouterBench's table."
)
@click.option("--model", type=click.Path(path_type=Path), required=True, help="Folder of the model to start from.")
@click.option("--labels", "column", required=True, help="Column of queries.parquet with each query's domain.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the trained model.")
@click.option(
    "--epochs", type=click.IntRange(min=1), default=3, show_default=True, help="How often each query is seen."
)
@click.option("--batch", type=click.IntRange(min=2), default=64, show_default=True, help="Queries of a step.")
@click.option(
    "--lr", type=click.FloatRange(min=0, min_open=True), default=2e-5, show_default=True, help="Learning rate."
)
@click.option(
    "--margin",
    type=click.FloatRange(-1, 1),
    default=0.0,
    show_default=True,
    help="Cosine at which two domains are far enough apart.",
)
@click.option(
    "--inter-weight",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="How much the distance between domains counts.",
)
@click.option(
    "--max-tokens", type=click.IntRange(min=8), help="Tokens of each query to train on.  [default: the model's own]"
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the order, and of dropout.")
@click.option("--device", help="Where to train, e.g. cpu or cuda.  [default: a GPU where there is one]")
@json_option
def command(
    *,
    data: Path,
    model: Path,
    column: str,
    out: Path,
    epochs: int,
    batch: int,
    lr: float,
    margin: float,
    inter_weight: float,
    max_tokens: int | None,
    seed: int,
    device: str | None,
    as_json: bool,
) -> None:
    """Train a sentence transformer so that it tells the domains of a routing log apart.

    Trains all weights of a local model: queries move towards the centre of their domain, centres away from each
    other. Nothing is downloaded. Interrupted, it leaves a checkpoint of the last whole epoch in --out; the same
    command goes on from there. Queries without a label are left out.
    """
    from mixllm.logs import open_log
    from mixllm.tags.fine_tuning import fine_tune

    log = open_log(data)
    labels = _labels(log, column)
    with _progress_bar() as progress:
        report = fine_tune(
            model_folder=model,
            texts=log.prompts,
            labels=labels,
            out=out,
            epochs=epochs,
            batch_size=batch,
            learning_rate=lr,
            margin=margin,
            inter_weight=inter_weight,
            max_tokens=max_tokens,
            seed=seed,
            device=device,
            progress=progress,
        )
    if as_json:
        print_json(_shown(report, out))
    else:
        _say(report, out)


def _labels(log: RoutingLog, column: str) -> tuple[str, ...]:
    if column not in log.labels:
        names = sorted(log.labels)
        listing = f"It has: {', '.join(names)}." if names else "It has no column of labels."
        raise LogError(f"queries.parquet has no column of labels {column!r}.{did_you_mean(column, names)} {listing}")
    return log.labels[column]


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """Draw a bar on stderr; where that is no terminal, nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("loading", total=None)

        def told(done: int, steps: int, loss: float) -> None:
            bar.update(task, completed=done, total=steps, description=f"loss {loss:.3f}")

        yield told


def _shown(report: FineTuneReport, out: Path) -> dict[str, object]:
    return {
        "out": str(out),
        "losses": report.losses,
        "seconds": report.seconds,
        "device": report.device,
        "texts": report.texts,
        "left_out": report.left_out,
        "domains": report.domains,
        "resumed_at": report.resumed_at,
    }


def _say(report: FineTuneReport, out: Path) -> None:
    losses = " → ".join(f"{loss:.3f}" for loss in report.losses)
    left_out = f" ({report.left_out} left out)" if report.left_out else ""
    print_line(
        f"{report.texts} queries{left_out} of {len(report.domains)} domains in {seconds(report.seconds)} on "
        f"{report.device}; loss {losses}."
    )
    print_line(f"Next: encoder: {{kind: transformer, path: {out}}} in your configuration.")
