"""``mixllm doctor``: everything that a gateway needs, checked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from mixllm.cli.addresses import root_url
from mixllm.cli.checks.finding import Finding, Status, fail
from mixllm.cli.checks.installation import check_installation
from mixllm.cli.options import checked_url, config_option, json_option, read_config
from mixllm.cli.output import print_json, print_line
from mixllm.config import Config
from mixllm.errors import MixLLMError

__all__ = ["command"]

_STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


@click.command(name="doctor")
@config_option
@click.option(
    "--url", callback=checked_url, envvar="MIXLLM_URL", show_envvar=True, help="The gateway.  [default: as configured]"
)
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="How long an endpoint may take to answer.",
)
@json_option
def command(*, config_path: Path, url: str | None, timeout_s: float, as_json: bool) -> None:
    """Check everything that a gateway needs, and say what to do.

    Looks at the configuration, keys, prices, the encoder, the store and what was learned, the LLMs' endpoints (nothing
    is generated), the gateway if it runs, and the installation. Changes nothing. Ends with code 1 where a check fails.
    """
    findings = tuple(_examined(config_path, url, timeout_s=timeout_s))
    failed = sum(finding.status is Status.FAIL for finding in findings)
    if as_json:
        print_json({"ok": not failed, "checks": findings})
    else:
        _show(findings)
    if failed:
        click.get_current_context().exit(1)


def _examined(path: Path, url: str | None, *, timeout_s: float) -> Iterator[Finding]:
    try:
        config = read_config(path)
    except MixLLMError as error:
        yield fail("config", str(error), "Correct the file, or give another with --config.")
    else:
        yield from _examined_config(config, str(path), url, timeout_s=timeout_s)
    yield from check_installation()


def _examined_config(config: Config, path: str, url: str | None, *, timeout_s: float) -> Iterator[Finding]:
    from mixllm.cli.checks.network import check_gateway, check_upstreams
    from mixllm.cli.checks.settings import check_gateway_keys, check_keys, check_pool, check_prices, check_routing
    from mixllm.cli.checks.state import check_encoder, check_store

    pool = list(check_pool(config, path))
    usable = [] if any(finding.status is Status.FAIL for finding in pool) else list(config.model_list)
    if config.judge is not None:
        usable.append(config.judge.entry())  # It is called, and paid, like any other.
    yield from pool
    yield check_routing(config)
    yield from check_keys(usable, os.environ)
    yield from check_gateway_keys(config, os.environ)
    yield from check_prices([entry.spec() for entry in usable])
    findings, features = check_encoder(config)
    yield from findings
    yield from check_store(config.store, features)
    yield from check_upstreams(usable, os.environ, timeout_s=timeout_s)
    yield check_gateway(url or root_url(config.gateway.host, config.gateway.port), timeout_s=timeout_s)


def _show(findings: Sequence[Finding]) -> None:
    from mixllm.cli.tables import cell, console, plain_table

    table = plain_table("", "check", "found", "what to do")
    for finding in findings:
        table.add_row(
            cell(finding.status, style=_STYLES[finding.status]),
            cell(finding.check),
            cell(finding.detail),
            cell(finding.next_step or ""),
        )
    console().print(table)
    counts = {status: sum(finding.status is status for finding in findings) for status in Status}
    print_line(f"{counts[Status.OK]} in order, {counts[Status.WARN]} to look at, {counts[Status.FAIL]} to correct.")
