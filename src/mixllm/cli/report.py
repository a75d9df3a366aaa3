"""``mixllm report``: what the router did."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from mixllm.cli.options import config_option, json_option, read_config
from mixllm.cli.output import print_json
from mixllm.cli.progress import progress_bar
from mixllm.cli.stored import open_for_reading
from mixllm.clock import SystemClock
from mixllm.config import Config
from mixllm.dashboard import OUT_OF_DOMAIN_THRESHOLD, period_s, read_report
from mixllm.errors import InvalidValueError

__all__ = ["command"]


def _checked(ctx: click.Context, param: click.Parameter, since: str) -> str:
    del ctx, param
    try:
        period_s(since)
    except InvalidValueError as error:
        raise click.BadParameter(str(error)) from error
    return since


@click.command(name="report")
@config_option
@click.option("--store", "store_path", type=click.Path(path_type=Path), help="A store's file, in place of store.path.")
@click.option(
    "--since",
    default="24h",
    show_default=True,
    callback=_checked,
    metavar="PERIOD",
    help="How far back: a number with s, m, h, d or w, or all.",
)
@click.option(
    "--reference",
    metavar="LLM",
    help="What savings are measured against; else routing.reference_llm, else the LLM that is forecast to be dearest.",
)
@json_option
def command(*, config_path: Path, store_path: Path | None, since: str, reference: str | None, as_json: bool) -> None:
    """Tell what the router did in a period, from its store.

    Requests, shares, judged quality, cost and what was saved, times, errors, spending by key, domains, exploration,
    shadows, and how forecasts compare with what came. Nothing is written, and a gateway may go on meanwhile. What the
    reference LLM would have cost is its forecast in each decision, so savings are an estimate.
    """
    config = _config(config_path, needed=store_path is None)
    routing = None if config is None else config.routing
    with open_for_reading(config, config_path, store_path) as (store, place), progress_bar("Reading") as advance:
        total = store.counts()["decisions"]
        report = read_report(
            store,
            now_s=SystemClock().time_s(),
            span_s=period_s(since),
            reference=reference or (None if routing is None else routing.reference_llm),
            out_of_domain_threshold=(OUT_OF_DOMAIN_THRESHOLD if routing is None else routing.out_of_domain.threshold),
            on_page=lambda read: advance(read, max(read, total)),
        )
    if as_json:
        print_json(report)
        return
    from mixllm.cli.report_tables import print_report

    print_report(report, place=place, since=since)


def _config(path: Path, *, needed: bool) -> Config | None:
    source = click.get_current_context().get_parameter_source("config_path")
    return None if source is ParameterSource.DEFAULT and not needed else read_config(path)
