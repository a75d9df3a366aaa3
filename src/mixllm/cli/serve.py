"""``mixllm serve``: the gateway."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import msgspec

from mixllm.cli.addresses import reachable
from mixllm.cli.options import config_option, json_option, read_config
from mixllm.cli.output import print_json, print_line
from mixllm.cli.signals import ended_by_signals
from mixllm.config import Config

__all__ = ["command", "curl_line"]

_QUESTION = {"model": "mixllm/auto", "messages": [{"role": "user", "content": "What is 12 times 7?"}]}


@click.command(name="serve")
@config_option
@click.option("--host", help="Listen here instead of at gateway.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen here instead of at gateway.port; 0: a free one.")
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
    *, config_path: Path, host: str | None, port: int | None, log_level: str, log_format: str, as_json: bool
) -> None:
    """Run the OpenAI-compatible gateway.

    Prints one line as soon as it listens: where, and a command to try. Ctrl-C and SIGTERM let it finish the requests
    under way, keep what was learned, and end with code 0. SIGHUP reads the configuration again.
    """
    config = _at(read_config(config_path), host=host, port=port)
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

    with ended_by_signals():
        serve(config, on_ready=say, read_again=lambda: _at(read_config(config_path), host=host, port=port))


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


def _at(config: Config, *, host: str | None, port: int | None) -> Config:
    place = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    return msgspec.structs.replace(config, gateway=msgspec.structs.replace(config.gateway, **place))
