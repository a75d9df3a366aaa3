"""``mixllm llms``: the pool of a running gateway."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from mixllm.cli.gateway_api import GatewayAPI, GatewayError, PoolEntry
from mixllm.cli.llm_entries import read_entries
from mixllm.cli.options import gateway_options, json_option
from mixllm.cli.output import price_per_million, print_json, print_line, seconds
from mixllm.errors import MixLLMError
from mixllm.registry import BreakerStatus
from mixllm.types import Capability, LLMSpec, Price, Secret, Value

__all__ = ["command"]

_COLUMNS = (
    "LLM",
    "model",
    "$/M in / out",
    "context",
    "capabilities",
    "judgements",
    "in flight",
    "wait",
    "TTFT",
    "TPOT",
    "breaker",
)
_UNPROCESSABLE = 422
_NUMBERS = _COLUMNS[2:4] + _COLUMNS[5:-1]


class _Flags(Value, frozen=True, kw_only=True):
    """The flags of ``add``."""

    name: str | None
    model: str | None
    api_base: str | None
    api_key_env: str | None
    input_usd_per_million: float | None
    output_usd_per_million: float | None
    context_window: int | None
    capabilities: frozenset[Capability]
    max_in_flight: int | None

    def spec(self) -> LLMSpec:
        """Return what the flags describe; raises `InvalidValueError` where a value is out of range."""
        if self.name is None or self.api_base is None:
            raise click.UsageError("Give --name and --api-base, or --file.")
        spec = LLMSpec(
            name=self.name,
            model=self.model,
            api_base=self.api_base,
            api_key_env=self.api_key_env,
            price=self._price(),
            context_window=self.context_window,
            max_in_flight=self.max_in_flight,
        )
        return msgspec.structs.replace(spec, capabilities=self.capabilities) if self.capabilities else spec

    def _price(self) -> Price | None:
        tokens_in, tokens_out = self.input_usd_per_million, self.output_usd_per_million
        if tokens_in is None and tokens_out is None:
            return None
        if tokens_in is None or tokens_out is None:
            raise click.UsageError("--input-usd-per-million and --output-usd-per-million go together. Give both.")
        return Price(usd_per_million_tokens_in=tokens_in, usd_per_million_tokens_out=tokens_out)


@click.group(name="llms")
def command() -> None:
    """List, add, change and remove the LLMs of a running gateway.

    Changes hold at once, for every later request, and after a restart.
    """


@command.command(name="list")
@gateway_options
@json_option
def list_llms(*, url: str, api_key: Secret | None, as_json: bool) -> None:
    """List the pool: prices, capabilities, and what was learned.

    The wait is what a call of usual length is expected to wait now, rate limits included; "refuses" says that the
    endpoint has asked to be left alone. The breaker of an LLM that keeps failing is open: it gets no calls for the time
    shown, then one at a time.

    TTFT is the time to the first token, TPOT the time per further one; both are forecasts where nothing was measured.
    """
    pool = GatewayAPI(url=url, api_key=api_key).pool()
    if as_json:
        print_json({"llms": pool})
        return
    if not pool:
        print_line("The pool is empty. Add an LLM: mixllm llms add --help")
        return
    from mixllm.cli.tables import cell, console, plain_table

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
    if file is not None and any(flags.values()):
        raise click.UsageError("--file describes the LLMs whole; leave the other flags out.")
    entries = read_entries(file) if file is not None else [msgspec.convert(flags, _Flags).spec()]
    api = GatewayAPI(url=url, api_key=api_key)
    added: list[LLMSpec] = []
    for entry in entries:
        try:
            added.append(api.add_llm(entry))
        except GatewayError as error:
            raise MixLLMError(f"{error}{_advice(error, added, by_flags=file is None)}") from error
    if as_json:
        print_json({"added": added})
        return
    for spec in added:
        print_line(f"Added {spec.name} ({price_per_million(spec.price)} per million tokens in / out).")


@command.command(name="update")
@click.argument("name")
@click.option("--input-usd-per-million", type=float, help="New price of a million prompt tokens.")
@click.option("--output-usd-per-million", type=float, help="New price of a million answer tokens.")
@click.option("--model", help="What its endpoint calls it.")
@click.option("--api-base", help="Base URL of its OpenAI-compatible endpoint, /v1 included.")
@click.option("--api-key-env", help="Variable of the gateway's environment that holds its key.")
@click.option("--context-window", type=click.IntRange(min=1), help="Most tokens of prompt and answer together.")
@click.option("--max-in-flight", type=click.IntRange(min=1), help="Calls that it serves at the same time.")
@gateway_options
@json_option
def update_llm(
    *,
    name: str,
    input_usd_per_million: float | None,
    output_usd_per_million: float | None,
    url: str,
    api_key: Secret | None,
    as_json: bool,
    **fields: object,
) -> None:
    """Change an LLM: its price, its endpoint, its limits.

    The next decision knows it. What was learned of the LLM stays; calls that were decided before are billed at the
    price of then.
    """
    given = {
        "usd_per_million_tokens_in": input_usd_per_million,
        "usd_per_million_tokens_out": output_usd_per_million,
    }
    price = {key: usd for key, usd in given.items() if usd is not None}
    changes = {key: value for key, value in {**fields, "price": price or None}.items() if value is not None}
    if not changes:
        raise click.UsageError("Say what to change: mixllm llms update --help lists it.")
    spec = GatewayAPI(url=url, api_key=api_key).update_llm(name, changes)
    if as_json:
        print_json({"updated": spec})
    else:
        print_line(f"Updated {spec.name} ({price_per_million(spec.price)} per million tokens in / out).")


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


def _advice(error: GatewayError, added: list[LLMSpec], *, by_flags: bool) -> str:
    """Return what the gateway's refusal does not say: the flags of a price, and what was added before it."""
    advice = ""
    if by_flags and error.status == _UNPROCESSABLE:
        advice += " Here: --input-usd-per-million and --output-usd-per-million."
    if added:
        advice += f" Added before it: {', '.join(spec.name for spec in added)}."
    return advice


def _breaker(status: BreakerStatus) -> str:
    wait = f" {seconds(status.retry_in_s)}" if status.retry_in_s > 0 else ""
    return status.state.value.replace("_", " ") + wait


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
        seconds(entry.wait_s) + (" (refuses)" if entry.refused_s > 0 else ""),
        "–" if entry.ttft_s is None else seconds(entry.ttft_s),
        "–" if entry.tpot_s is None else seconds(entry.tpot_s),
        "–" if entry.breaker is None else _breaker(entry.breaker),
    )
