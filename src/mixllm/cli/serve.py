"""``mixllm serve``: the gateway."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from mixllm.cli.addresses import reachable
from mixllm.cli.options import config_option, json_option, read_config
from mixllm.cli.output import print_json, print_line
from mixllm.cli.signals import ended_by_signals
from mixllm.config import Config
from mixllm.errors import ConfigError

if TYPE_CHECKING:
    from mixllm.gateway.learner_process import LearnerProcess

__all__ = ["command", "curl_line"]

_LOG = logging.getLogger(__name__)

_QUESTION = {"model": "mixllm/auto", "messages": [{"role": "user", "content": "What is 12 times 7?"}]}


@click.command(name="serve")
@config_option
@click.option("--host", help="Listen here instead of at gateway.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen here instead of at gateway.port; 0: a free one.")
@click.option("--workers", type=click.IntRange(1, 32), help="Processes that serve, instead of gateway.workers.")
@click.option("--inherit", hidden=True, help="What a worker gets from its parent.")
@click.option("--learner", type=click.Path(path_type=Path), hidden=True, help="Where the process that learns tells it.")
@click.option("--learn", hidden=True, help="What the process that learns gets from its parent.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The log goes to stderr; it holds no prompts and no keys.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or one JSON object a line.",
)
@json_option
def command(
    *,
    config_path: Path,
    host: str | None,
    port: int | None,
    workers: int | None,
    inherit: str | None,
    learner: Path | None,
    learn: str | None,
    log_level: str,
    log_format: str,
    as_json: bool,
) -> None:
    """Run the OpenAI-compatible gateway.

    Prints one line as soon as it listens: where, and a command to try. Ctrl-C and SIGTERM let it finish the requests
    under way, keep what was learned, and end with code 0. SIGHUP reads the configuration again.
    """

    def read() -> Config:
        return _with(read_config(config_path), host=host, port=port, workers=workers)

    config = read()
    from mixllm.dashboard.routes import dashboard_routes
    from mixllm.gateway.learner_process import learn_apart
    from mixllm.gateway.log_format import set_up_log

    set_up_log(level=log_level, form="json" if log_format == "json" else "text")
    if learn is not None:
        learn_apart(config, inherited=learn)
        return
    from mixllm.gateway.serve import serve  # takes a second; a faulty file is told at once

    def say(url: str) -> None:
        shown = reachable(url)
        attempt = curl_line(
            shown, key=bool(config.gateway.api_keys or config.gateway.keys), pool=bool(config.model_list)
        )
        if as_json:
            print_json({"url": shown, "pid": os.getpid(), "try": attempt})
        else:
            print_line(f"MixLLM listens on {shown}. Try: {attempt}")

    options = ("-c", str(config_path), "--log-level", log_level, "--log-format", log_format)
    if inherit is not None:
        _work(config, inherit, read_again=read, learner=learner)
    elif config.gateway.workers > 1:
        _supervise(config, options, say=say)
    else:
        with ended_by_signals(), _learning(config, options) as beside:
            serve(
                config,
                on_ready=lambda url: _begin(beside, say, url),
                read_again=read,
                windows=dashboard_routes,
                learner=None if beside is None else beside.path,
            )


@contextmanager
def _learning(config: Config, options: Sequence[str]) -> Iterator[LearnerProcess | None]:
    """Have a process of its own for learning ready while the context is open, where that is wanted."""
    from mixllm.gateway.learner_process import LearnerProcess, learns_apart

    if not learns_apart(config):
        yield None
        return
    try:
        beside = LearnerProcess(lambda given: [sys.executable, "-m", "mixllm", "serve", *options, "--learn", given])
    except OSError as error:
        if config.learning.process:
            raise ConfigError(f"learning.process: there is no place for its socket: {error}.") from error
        _LOG.warning("every process of the gateway learns for itself: there is no place for a socket: %s", error)
        yield None
        return
    with beside:
        yield beside


def _begin(beside: LearnerProcess | None, say: Callable[[str], None], url: str) -> None:
    if beside is not None:
        beside.start()  # Not before: it must not make the others' start slower.
    say(url)


def _supervise(config: Config, options: Sequence[str], *, say: Callable[[str], None]) -> None:
    """Run the workers until told to stop."""
    from mixllm.gateway.access import check_exposure
    from mixllm.gateway.keys import key_ring
    from mixllm.gateway.serve import listen, url_of
    from mixllm.gateway.workers import Inheritance, run_workers

    place = config.gateway
    if os.name != "posix":
        raise ConfigError("gateway.workers: several processes need a POSIX system. Set gateway.workers: 1.")
    if config.store.kind == "memory":
        raise ConfigError("gateway.workers: several processes need a store that they share. Set store.kind: sqlite.")
    check_exposure(place.host, key_ring(place, os.environ))

    with listen(place.host, place.port) as listener, _learning(config, options) as beside:

        def line(inheritance: Inheritance) -> list[str]:
            told = () if beside is None else ("--learner", str(beside.path))
            own = ("--host", place.host, "--workers", str(place.workers), "--inherit", str(inheritance))
            return [sys.executable, "-m", "mixllm", "serve", *options, *own, *told]

        code = run_workers(
            line,
            listener=listener,
            count=place.workers,
            on_ready=lambda: _begin(beside, say, url_of(listener)),
        )
    if code:
        sys.exit(code)


def _work(config: Config, inherit: str, *, read_again: Callable[[], Config], learner: Path | None) -> None:
    """Serve as one of several workers."""
    from mixllm.dashboard.routes import dashboard_routes
    from mixllm.gateway.serve import serve
    from mixllm.gateway.workers import Inheritance

    inheritance = Inheritance.parse(inherit)
    with ended_by_signals():
        inheritance.end_with_parent()
        listener = socket.socket(fileno=inheritance.listener)
        serve(
            config,
            on_ready=inheritance.say_ready,
            listener=listener,
            read_again=read_again,
            windows=dashboard_routes,
            learner=learner,
        )


def curl_line(url: str, *, key: bool, pool: bool) -> str:
    """Return a command that works on the gateway at `url`.

    Parameters
    ----------
    url
        The gateway.
    key
        Whether it asks for a key; it is then taken from ``MIXLLM_API_KEY``.
    pool
        Whether there are LLMs that can answer.
    """
    header = ' -H "Authorization: Bearer $MIXLLM_API_KEY"' if key else ""
    if not pool:
        return f"curl -s {url}/v1/llms{header}"
    question = json.dumps(_QUESTION)
    return f"curl -s {url}/v1/chat/completions{header} -H 'Content-Type: application/json' -d '{question}'"


def _with(config: Config, **given: str | int | None) -> Config:
    place = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(config, gateway=msgspec.structs.replace(config.gateway, **place))
