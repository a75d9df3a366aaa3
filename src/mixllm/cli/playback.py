"""``mixllm playback``: LLMs to try things out with."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mixllm.cli.addresses import base_url, reachable
from mixllm.cli.options import json_option
from mixllm.cli.output import print_json, print_line
from mixllm.cli.signals import ended_by_signals

if TYPE_CHECKING:
    from mixllm.logs import RoutingLog

__all__ = ["command"]

_SYNTHETIC_QUERIES = 2000


@click.command(name="playback")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of a routing log whose answers are played back.")
@click.option("--synthetic", is_flag=True, help="Play back a made-up log of six LLMs.  [default]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9000, show_default=True, help="Where to listen; 0: a free port."
)
@click.option(
    "--time-scale", type=float, default=1.0, show_default=True, help="Recorded seconds take this many; 0: at once."
)
@click.option(
    "--queries", type=click.IntRange(min=1), help=f"Queries of the log.  [default: all, {_SYNTHETIC_QUERIES} made up]"
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the made-up log.")
@click.option(
    "--capacity",
    type=click.IntRange(min=1),
    help="Calls that each LLM serves at the same time; further ones wait.  [default: all]",
)
@click.option("--write-config", type=click.Path(path_type=Path), help="Write a configuration for its LLMs here.")
@click.option("--force", is_flag=True, help="Let --write-config replace another file.")
@json_option
def command(
    *,
    data: Path | None,
    synthetic: bool,
    host: str,
    port: int,
    time_scale: float,
    queries: int | None,
    seed: int,
    capacity: int | None,
    write_config: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run a server that stands for a pool of LLMs, to try things out.

    It speaks OpenAI's protocol and answers what a routing log recorded, as long and as fast as recorded; questions that
    the log does not hold get a made-up answer. Nothing is paid and no key is needed. Prints one line as soon as it
    listens, with the next command to run. Ctrl-C and SIGTERM end it with code 0.
    """
    if synthetic and data is not None:
        raise click.UsageError("Give either --data or --synthetic.")
    from mixllm.cli.playback_config import config_text, refuse_to_replace, write_text
    from mixllm.playback import AnswerBook
    from mixllm.playback.serve import serve

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    book = AnswerBook(log=_log(data, queries=queries, seed=seed))
    if write_config is not None and not force:
        refuse_to_replace(write_config, config_text(book, base_url=base_url(host, port), path=write_config))

    def say(url: str) -> None:
        url = reachable(url)
        following = f"curl -s {url}/models"
        if write_config is not None:
            write_text(write_config, config_text(book, base_url=url, path=write_config))
            following = f"mixllm serve --config {shlex.quote(str(write_config))}"
        if as_json:
            shown = None if write_config is None else str(write_config)
            print_json({"url": url, "pid": os.getpid(), "llms": book.llms, "config": shown, "next": following})
        else:
            print_line(f"{len(book.llms)} LLMs answer at {url}: {', '.join(book.llms)}. Next: {following}")

    with ended_by_signals():
        serve(book, host=host, port=port, time_scale=time_scale, seed=seed, capacity=capacity, on_ready=say)


def _log(data: Path | None, *, queries: int | None, seed: int) -> RoutingLog:
    from mixllm.logs import read_log
    from mixllm.playback import synthetic_log

    if data is None:
        return synthetic_log(queries=queries or _SYNTHETIC_QUERIES, seed=seed)
    log = read_log(data)
    return log if queries is None or queries >= len(log) else log.select(range(queries))
