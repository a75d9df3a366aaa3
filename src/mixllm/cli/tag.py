"""``mixllm tag``: labels for the queries of a log, from an LLM."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from mixllm.cli.masking import printable
from mixllm.cli.options import checked_url, json_option
from mixllm.cli.output import print_json, usd
from mixllm.cli.tag_job import TagJob, grouped
from mixllm.errors import MixLLMError
from mixllm.tags.labelling import CostEstimate, NormalisationSettings, TaggingResult, TaggingSettings, TagLabels
from mixllm.types import LLMSpec, Price

__all__ = ["command"]

_SHOWN_TAGS = 5


@click.command(name="tag")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The routing log: a folder or a file.")
@click.option(
    "--api-base", "--api-url", callback=checked_url, required=True, help="Base URL of the endpoint, /v1 included."
)
@click.option("--model", required=True, help="What the endpoint calls the LLM.")
@click.option("--api-key-env", help="Variable of the environment that holds the key.  [default: no key]")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Where to write the labels."
)
@click.option("--batch", default=10, show_default=True, type=click.IntRange(1, 100), help="Queries of one call.")
@click.option(
    "--concurrency", default=4, show_default=True, type=click.IntRange(1, 256), help="Calls at the same time."
)
@click.option("--timeout-s", default=120.0, show_default=True, help="Time limit of a call.")
@click.option("--price-in", type=float, help="USD for a million prompt tokens.  [default: list price]")
@click.option("--price-out", type=float, help="USD for a million answer tokens.  [default: list price]")
@click.option("--reasoning-tokens", default=0, show_default=True, help="Of each call; above 0 for reasoning models.")
@click.option("--max-cost-usd", type=click.FloatRange(min=0), help="Stop before the whole job costs more.")
@click.option("--max-domains", default=20, show_default=True, type=click.IntRange(min=1), help="Most domains.")
@click.option(
    "--min-count",
    type=click.IntRange(min=1),
    help="Drop tags of fewer queries.  [default: 4 in 10,000 queries, at least 2]",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the grouping.")
@click.option("--estimate-only", is_flag=True, help="Print what it would cost, and call nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before spending money.")
@json_option
def command(
    *,
    data: Path,
    api_base: str,
    model: str,
    api_key_env: str | None,
    out: Path,
    batch: int,
    concurrency: int,
    timeout_s: float,
    price_in: float | None,
    price_out: float | None,
    reasoning_tokens: int,
    max_cost_usd: float | None,
    max_domains: int,
    min_count: int | None,
    seed: int,
    estimate_only: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Ask an LLM what the queries of a log are about, and group them into domains.

    The queries go to the endpoint in batches; it answers with intention tags, which are made few and grouped. Prints
    the estimated cost and asks before the first call. What is answered is kept in a journal beside the labels
    (--out with .journal.jsonl): the same command goes on where it stopped, and with another --max-domains or
    --min-count it groups anew without a call.
    """
    spec = LLMSpec(
        name=model.removeprefix("mixllm/"),
        model=model,
        api_base=api_base,
        api_key_env=api_key_env,
        price=_price(price_in, price_out),
        timeout_s=timeout_s,
    )
    settings = TaggingSettings(
        batch_size=batch, concurrency=concurrency, reasoning_tokens=reasoning_tokens, max_cost_usd=max_cost_usd
    )
    thinning = NormalisationSettings(min_count=min_count)
    with TagJob(data=data, spec=spec, settings=settings, out=out) as job:
        estimate = job.estimate()
        if estimate_only and as_json:
            print_json({"estimate": estimate, "queries": len(job.log), "answered": job.answered})
            return
        _announce(job, estimate, err=not estimate_only)
        if estimate_only:
            return
        if estimate.calls:
            _confirm(yes=yes)
            _check_key(api_key_env)
        result = job.run()
        _refuse_half(job, result)
        labels = grouped(job, result, thinning=thinning, max_domains=max_domains, seed=seed)
    labels.save(out)
    if as_json:
        print_json(_summary(labels, result, estimate, out))
    else:
        _show(labels, result, out)


def _price(tokens_in: float | None, tokens_out: float | None) -> Price | None:
    if tokens_in is None and tokens_out is None:
        return None
    if tokens_in is None or tokens_out is None:
        raise click.UsageError("--price-in and --price-out go together. Give both.")
    return Price(usd_per_million_tokens_in=tokens_in, usd_per_million_tokens_out=tokens_out)


def _announce(job: TagJob, estimate: CostEstimate, *, err: bool) -> None:
    if job.answered:
        _say(f"{job.answered:,} of {len(job.log):,} queries are answered already, for {usd(job.spent_usd)}.", err=err)
    if not estimate.calls:
        return
    _say(
        f"{len(job.log) - job.answered:,} queries to ask {printable(job.spec.upstream_model)} about: about "
        f"{estimate.calls:,} calls, {estimate.tokens_in:,} tokens in, {estimate.tokens_out:,} tokens out, "
        f"{usd(estimate.cost_usd)}.",
        err=err,
    )
    cap = job.settings.max_cost_usd
    if cap is not None and job.spent_usd + estimate.cost_usd > cap:
        _say(f"That is above the cap of {usd(cap)}: it will stop there, and can go on with a higher one.", err=err)


def _confirm(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("This spends money, and there is no terminal to ask. Give --yes, or --estimate-only.")
    click.confirm("The queries leave this machine, and the calls are billed. Go on?", abort=True, err=True)


def _check_key(variable: str | None) -> None:
    if variable is not None and not os.environ.get(variable, "").strip():
        raise MixLLMError(f"The environment variable {variable} of --api-key-env is not set. Set it to the key.")


def _refuse_half(job: TagJob, result: TaggingResult) -> None:
    if result.capped:
        open_queries = sum(tags is None for tags in result.tags)
        raise MixLLMError(
            f"The cap is reached: {usd(result.spent_usd)} are spent, {open_queries:,} of {len(job.log):,} queries have "
            "no answer. What is answered is kept. Run it again with a higher --max-cost-usd to go on."
        )


def _summary(labels: TagLabels, result: TaggingResult, estimate: CostEstimate, out: Path) -> dict[str, object]:
    sizes = labels.sizes().tolist()
    return {
        "out": str(out),
        "version": labels.vocabulary.version,
        "queries": len(labels),
        "tagged": int(labels.tagged.sum()),
        "failed": len(result.failed),
        "calls": result.calls,
        "estimate": estimate,
        "spent_usd": result.spent_usd,
        "domains": [
            {"name": domain.name, "queries": size, "tags": domain.tags}
            for domain, size in zip(labels.vocabulary.domains, sizes, strict=True)
        ],
    }


def _show(labels: TagLabels, result: TaggingResult, out: Path) -> None:
    from mixllm.cli.tables import cell, console, plain_table

    table = plain_table("domain", "queries", "tags", right=("queries",))
    for domain, size in zip(labels.vocabulary.domains, labels.sizes().tolist(), strict=True):
        more = len(domain.tags) - _SHOWN_TAGS
        tags = ", ".join(domain.tags[:_SHOWN_TAGS]) + (f" and {more} more" if more > 0 else "")
        table.add_row(cell(domain.name), f"{size:,.1f}", cell(tags))
    console().print(table)
    if result.failed:
        _say(f"{len(result.failed):,} queries got no usable answer; the same command asks for them again.")
    _say(
        f"{int(labels.tagged.sum()):,} of {len(labels):,} queries have a domain; {usd(result.spent_usd)} spent. "
        f"Labels: {printable(str(out))}"
    )


def _say(text: str, *, err: bool = True) -> None:
    """Write a line, on stderr where stdout is for the result."""
    click.echo(text, err=err)
