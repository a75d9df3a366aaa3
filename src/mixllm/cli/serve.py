"""``mixllm serve``: the gateway."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from mixllm.cli.addresses import reachable
from mixllm.cli.options import config_option, json_option, read_config
from mixllm.cli.output import print_json, print_line
from mixllm.cli.signals import ended_by_signals
from mixllm.config import Config
from mixllm.errors import ConfigError

__all__ = ["command", "curl_line"]

_QUESTION = {"model": "mixllm/auto", "messages": [{"role": "user", "content": "What is 12 times 7?"}]}


@click.command(name="serve")
@config_option
@click.option("--host", help="Listen here instead of at gateway.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen here instead of at gateway.port; 0: a free one.")
@click.option("--workers", type=click.IntRange(1, 32), help="Processes that serve, instead of gateway.workers.")
@click.option("--inherit", hidden=True, help="What a worker gets from its parent.")
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
    from mixllm.gateway.log_format import set_up_log
    from mixllm.gateway.serve import serve  # takes a second; a faulty file is told at once

    set_up_log(level=log_level, form="json" if log_format == "json" else "text")

    def say(url: str) -> None:
        shown = reachable(url)
        attempt = curl_line(
            shown, key=bool(config.gateway.api_keys or config.gateway.keys), pool=bool(config.model_list)
        )
        if as_json:
            print_json({"url": shown, "pid": os.getpid(), "try": attempt})
        else:
            print_line(f"MixLLM listens on {shown}. Try: {attempt}")

    if inherit is not None:
        _work(config, inherit, read_again=read)
    elif config.gateway.workers > 1:
        _supervise(config, config_path, logging=("--log-level", log_level, "--log-format", log_format), say=say)
    else:
        with ended_by_signals():
            serve(config, on_ready=say, read_again=read, windows=dashboard_routes)


def _supervise(config: Config, config_path: Path, *, logging: tuple[str, ...], say: Callable[[str], None]) -> None:
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

    def line(inheritance: Inheritance) -> list[str]:
        options = ["-c", str(config_path), "--host", place.host, "--workers", str(place.workers)]
        return [sys.executable, "-m", "mixllm", "serve", *options, *logging, "--inherit", str(inheritance)]

    with listen(place.host, place.port) as listener:
        code = run_workers(line, listener=listener, count=place.workers, on_ready=lambda: say(url_of(listener)))
    if code:
        sys.exit(code)


def _work(config: Config, inherit: str, *, read_again: Callable[[], Config]) -> None:
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
