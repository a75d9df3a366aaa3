"""``mixllm route``: a decision, explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from mixllm.cli.gateway_api import GatewayAPI
from mixllm.cli.options import checked_url, config_option, json_option, key_option, read_config, read_file
from mixllm.cli.output import print_json
from mixllm.cli.route_request import RouteRequest, read_messages
from mixllm.types import Capability, Decision, Secret

__all__ = ["command"]


@click.command(name="route")
@click.argument("text", required=False)
@click.option("--messages", type=click.Path(path_type=Path), help="Take the chat from this JSON file instead of TEXT.")
@click.option("--lambda", "trade_off", type=float, help="λ: the larger, the more quality counts.")
@click.option("--max-cost-usd", type=float, help="Only LLMs whose expected cost is at most this.")
@click.option("--min-quality", type=float, help="Only LLMs whose expected quality is at least this.")
@click.option("--max-latency-s", type=float, help="Only LLMs whose latency stays below this, by its tail.")
@click.option("--max-tokens-out", type=int, help="The answer's own limit of tokens.")
@click.option("--allow", multiple=True, metavar="NAME", help="Only this LLM; may be repeated.")
@click.option(
    "--needs",
    multiple=True,
    type=click.Choice([capability.value for capability in Capability]),
    help="Only LLMs that can do this; may be repeated.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of the random draw, where the policy explores.")
@config_option
@click.option(
    "--url", callback=checked_url, help="Ask the gateway that runs there; it keeps the decision in its store."
)
@key_option
@json_option
def command(
    *,
    text: str | None,
    messages: Path | None,
    seed: int | None,
    config_path: Path,
    url: str | None,
    api_key: Secret | None,
    as_json: bool,
    **constraints: object,
) -> None:
    """Explain which LLM would take a query, and call nothing.

    TEXT is the query; - reads it from stdin. Without --url the decision is made here, from the configuration and from
    what its store has learned; the store may be in use by a running gateway, and nothing is written into it.
    """
    request = msgspec.convert({**constraints, "messages": _chat(text, messages)}, RouteRequest)
    if url is None:
        decision = _decide_here(request, config_path, seed)
    else:
        _refuse_both(seed)
        decision = GatewayAPI(url=url, api_key=api_key).route(request.body())
    if as_json:
        print_json(decision)
        return
    from mixllm.cli.route_table import explanation
    from mixllm.cli.tables import console

    console().print(explanation(decision))


def _decide_here(request: RouteRequest, config_path: Path, seed: int | None) -> Decision:
    from mixllm.assembly import Router

    query = request.query()
    with Router.peek(read_config(config_path), seed=seed) as router:
        for name in request.allow:
            router.llm(name)
        return router.route(query, expect_outcome=False)


def _refuse_both(seed: int | None) -> None:
    context = click.get_current_context()
    if context.get_parameter_source("config_path") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--config decides here, --url asks a gateway. Give one of them.")
    if seed is not None:
        raise click.UsageError("--seed is for decisions made here; a gateway draws its own. Leave it out.")


def _chat(text: str | None, messages: Path | None) -> tuple[dict[str, Any], ...]:
    if (text is None) == (messages is None):
        raise click.UsageError("Give either TEXT or --messages.")
    if messages is not None:
        return read_messages(messages)
    content = read_file(Path("-")) if text == "-" else text
    if not content or not content.strip():
        raise click.UsageError("The query is empty. Write it as TEXT, or on stdin for -.")
    return ({"role": "user", "content": content},)
