"""``mixllm state``: what was learned, version by version; back to an earlier one; and two put together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from mixllm.cli.options import checked_url, config_option, json_option, key_option, read_config
from mixllm.cli.output import print_json, print_line
from mixllm.cli.state_source import open_states
from mixllm.learning.state_details import StateDetails
from mixllm.types import Secret, StateInfo

__all__ = ["command"]

_F = TypeVar("_F", bound=Callable[..., Any])


def _where(command: _F) -> _F:
    """Give `command` the options that say where the state is."""
    url = click.option(
        "--url",
        callback=checked_url,
        envvar="MIXLLM_URL",
        show_envvar=True,
        help="The running gateway.  [default: as configured; where none answers, the store's file]",
    )
    return config_option(url(key_option(json_option(command))))


@click.group(name="state")
def command() -> None:
    """Look at what was learned, go back to an earlier version of it, merge it with another router's.

    A running gateway is asked at its configured address; where none answers, the store's file is used. Do not point a
    configuration with another port at the file of a gateway that runs.
    """


@command.command(name="list")
@_where
def list_states(*, config_path: Path, url: str | None, api_key: Secret | None, as_json: bool) -> None:
    """List the checkpoints, oldest first, and those in quarantine with the reason."""
    with open_states(read_config(config_path), url=url, api_key=api_key) as source:
        states, place = source.states(), source.place
    if as_json:
        print_json({"states": states})
        return
    if not states:
        print_line(f"No checkpoint is kept yet in {place}.")
        return
    from mixllm.cli.tables import cell, console, plain_table

    table = plain_table("version", "kept at (UTC)", "event", "size", "", right=("version", "event", "size"))
    for info in states:
        quarantined = "" if info.quarantined is None else f"quarantined: {info.quarantined}"
        row = (str(info.version), _when(info), str(info.position), f"{info.size_bytes / 1024:,.0f} KiB", quarantined)
        table.add_row(*(cell(text) for text in row))
    console().print(table)


@command.command(name="show")
@click.argument("version", type=int)
@_where
def show_state(*, version: int, config_path: Path, url: str | None, api_key: Secret | None, as_json: bool) -> None:
    """Show what the checkpoint VERSION knows of each LLM."""
    with open_states(read_config(config_path), url=url, api_key=api_key) as source:
        details = source.details(version)
    if as_json:
        print_json(details)
    else:
        _show(details)


@command.command(name="rollback")
@click.option(
    "--to", "to", type=int, help="The version.  [default: the last that knows something else than the newest]"
)
@click.option("--relearn", is_flag=True, help="Learn the events since then again; else they are left out for good.")
@_where
def roll_back(
    *, to: int | None, relearn: bool, config_path: Path, url: str | None, api_key: Secret | None, as_json: bool
) -> None:
    """Go back to an earlier checkpoint.

    A running gateway decides by it at once. What was known until now is kept, in quarantine; release it to return to
    it. The pool and its prices stay as they are.
    """
    with open_states(read_config(config_path), url=url, api_key=api_key) as source:
        done, place = source.roll_back(to, relearn=relearn), source.place
    if as_json:
        print_json(done)
        return
    since = "the events since then are learned again" if relearn else f"events up to {done.position} are left out"
    print_line(f"Went back to version {done.source}, now version {done.version}, in {place}; {since}.")
    if done.quarantined:
        print_line(f"In quarantine: {', '.join(str(version) for version in done.quarantined)}.")


@command.command(name="release")
@click.argument("version", type=int)
@_where
def release_state(*, version: int, config_path: Path, url: str | None, api_key: Secret | None, as_json: bool) -> None:
    """Take the checkpoint VERSION out of quarantine, so that it may be used.

    It is used at the next start if no later one may be; "mixllm state rollback --to VERSION" makes it the current one.
    """
    with open_states(read_config(config_path), url=url, api_key=api_key) as source:
        source.release(version)
    if as_json:
        print_json({"version": version, "released": True})
    else:
        print_line(f"Released {version}. To make it the current one: mixllm state rollback --to {version}")
        print_line("With --relearn, the events since then are learned on top of it.")


@command.command(name="merge")
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER FOLDER...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the result.")
@click.option("--since", type=click.Path(path_type=Path), help="Saved router that all of them started from.")
@json_option
def merge_states(*, folders: tuple[Path, ...], out: Path, since: Path | None, as_json: bool) -> None:
    """Put what several saved routers have learned together, as if one had learned all of it.

    The pool, the prices and the settings are those of the first. What they have in common would count several times:
    name it with --since.
    """
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise click.UsageError("Give two or more different folders of saved routers.")
    from mixllm.assembly import Router

    with Router.load(folders[0]) as router:
        for folder in folders[1:]:
            router.merge(folder, since=since)
        router.save(out)
        judgements = dict(zip((spec.name for spec in router.llms), router.snapshot.judgements, strict=True))
    if as_json:
        print_json({"out": str(out), "judgements": judgements})
    else:
        print_line(f"{out} knows what {len(folders)} routers have learned: {sum(judgements.values()):,.0f} judgements.")


def _show(details: StateDetails) -> None:
    info = details.info
    print_line(f"Version {info.version} of {_when(info)} UTC, up to event {info.position}, {info.size_bytes:,} bytes.")
    if info.quarantined is not None:
        print_line(f"In quarantine: {info.quarantined}")
    if details.unreadable is not None:
        print_line(f"It cannot be read: {details.unreadable}")
        return
    print_line(f"Learned on {details.features}; the scale of cost is that of {details.reference}.")
    from mixllm.cli.tables import cell, console, plain_table

    table = plain_table("LLM", "level", "judgements", "answers", right=("level", "judgements", "answers"))
    for llm in details.llms:
        row = (llm.llm, f"{llm.level:.3f}", f"{llm.judgements:,.0f}", f"{llm.answers:,.0f}")
        table.add_row(*(cell(text) for text in row))
    console().print(table)


def _when(info: StateInfo) -> str:
    return datetime.fromtimestamp(info.created_at_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
