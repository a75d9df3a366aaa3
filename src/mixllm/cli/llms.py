"""``mixllm llms``: the pool of a running gateway."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from mixllm.cli.gateway_api import GatewayAPI, PoolEntry
from mixllm.cli.llm_entries import read_entries
from mixllm.cli.options import gateway_options, json_option
from mixllm.cli.output import cell, console, plain_table, price_per_million, print_json, print_line, seconds
from mixllm.types import Capability, LLMSpec, Price, Secret

__all__ = ["command"]

_COLUMNS = ("LLM", "model", "$/M in / out", "context", "capabilities", "judgements", "in flight", "TTFT", "TPOT")
_NUMBERS = _COLUMNS[2:4] + _COLUMNS[5:]


@click.group(name="llms")
def command() -> None:
    """List, add and remove the LLMs of a running gateway.

    Changes hold at once, for every later request, and after a restart.
    """


@command.command(name="list")
@gateway_options
@json_option
def list_llms(*, url: str, api_key: Secret | None, as_json: bool) -> None:
    """List the pool: prices, capabilities, and what was learned.

    TTFT is the time to the first token, TPOT the time per further one; both are forecasts where nothing was measured.
    """
    pool = GatewayAPI(url=url, api_key=api_key).pool()
    if as_json:
        print_json({"llms": pool})
        return
    if not pool:
        print_line("The pool is empty. Add an LLM: mixllm llms add --help")
        return
    table = plain_table(*_COLUMNS, right=_NUMBERS)
    for entry in pool:
        table.add_row(*(cell(text) for text in _row(entry)))
    console().print(table)


@command.command(name="add")
@click.option("--name", help="Its name in the pool.")
@click.option("--model", help="What its endpoint calls it.  [default: the name]")
@click.option("--api-base", help="Base URL of its OpenAI-compatible endpoint, /v1 included.")
@click.option("--api-key-env", help="Variable of the gateway's environment that holds its key.")
@click.option("--input-usd-per-million", type=float, help="Price of a million prompt tokens.  [default: list price]")
@click.option("--output-usd-per-million", type=float, help="Price of a million answer tokens.  [default: list price]")
@click.option("--context-window", type=click.IntRange(min=1), help="Most tokens of prompt and answer together.")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    type=click.Choice([capability.value for capability in Capability]),
    help="What it can do beyond text; may be repeated.  [default: tools, json]",
)
@click.option("--max-in-flight", type=click.IntRange(min=1), help="Calls that it serves at the same time.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Entries in model_list's shape, or - for stdin.")
@gateway_options
@json_option
def add_llm(*, file: Path | None, url: str, api_key: Secret | None, as_json: bool, **flags: object) -> None:
    """Add LLMs, from flags or from a file.

    Nothing is trained: an LLM starts from its price and from what the pool has in common, and one that was removed
    before continues with what was learned of it.
    """
    if (file is None) == (flags["name"] is None):
        raise click.UsageError("Give either --name and --api-base, or --file.")
    if file is not None and any(flags.values()):
        raise click.UsageError("--file describes the LLMs whole; leave the other flags out.")
    entries = read_entries(file) if file is not None else [msgspec.to_builtins(_spec(flags))]
    api = GatewayAPI(url=url, api_key=api_key)
    added = []
    for entry in entries:
        added.append(api.add_llm(entry))
        if not as_json:
            print_line(f"Added {added[-1].name} ({price_per_million(added[-1].price)} per million tokens in / out).")
    if as_json:
        print_json({"added": added})


@command.command(name="remove")
@click.argument("name")
@gateway_options
@json_option
def remove_llm(*, name: str, url: str, api_key: Secret | None, as_json: bool) -> None:
    """Remove an LLM.

    No later request goes to it. What was learned of it is kept for its return.
    """
    GatewayAPI(url=url, api_key=api_key).remove_llm(name)
    if as_json:
        print_json({"removed": name})
    else:
        print_line(f"Removed {name}. What was learned of it is kept for its return.")


def _spec(flags: dict[str, object]) -> LLMSpec:
    """Return what the flags describe; raises `InvalidValueError` where a value is out of range."""
    if flags["api_base"] is None:
        raise click.UsageError("--api-base is missing: the gateway has to know where to call the LLM.")
    prices = (flags["input_usd_per_million"], flags["output_usd_per_million"])
    if (prices[0] is None) != (prices[1] is None):
        raise click.UsageError("--input-usd-per-million and --output-usd-per-million go together. Give both.")
    tree = {
        name: flags[name]
        for name in ("name", "model", "api_base", "api_key_env", "context_window", "max_in_flight", "capabilities")
        if flags[name]
    }
    if prices[0] is not None:
        tree["price"] = Price(
            **dict(zip(("usd_per_million_tokens_in", "usd_per_million_tokens_out"), prices, strict=True))  # type: ignore[arg-type] # floats, as click has made them
        )
    return LLMSpec(**tree)  # type: ignore[arg-type] # as click has made them


def _row(entry: PoolEntry) -> tuple[str, ...]:
    spec = entry.spec
    return (
        spec.name,
        spec.upstream_model,
        price_per_million(spec.price),
        "unknown" if spec.context_window is None else f"{spec.context_window:,}",
        ", ".join(sorted(spec.capabilities)) or "text",
        f"{entry.judgements:.0f}",
        str(entry.in_flight),
        "–" if entry.ttft_s is None else seconds(entry.ttft_s),
        "–" if entry.tpot_s is None else seconds(entry.tpot_s),
    )
