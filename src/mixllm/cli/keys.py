"""``mixllm keys``: API keys of the gateway's clients."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import click

from mixllm.cli.options import config_option, json_option, read_config
from mixllm.cli.output import print_json, print_line
from mixllm.config import Config, KeyConfig
from mixllm.config.keys import ALL_SCOPES, hash_of
from mixllm.errors import ConfigError

__all__ = ["KEY_PREFIX", "command"]

KEY_PREFIX = "mxk_"
"""What keys made here begin with, so that people and scanners for leaked secrets know one when they see it."""

_KEY_BYTES = 32
_SHORTEST = 32


@click.group(name="keys")
def command() -> None:
    """Make API keys for the gateway's clients, and list them.

    The configuration holds a key's hash alone: whoever reads the file cannot use it.
    """


@command.command(name="create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(ALL_SCOPES),
    default=("chat", "feedback"),
    show_default=True,
    help="What it opens; may be given several times.",
)
@json_option
def create(*, name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Make a key for NAME, print it this once, and the entry for gateway.keys."""
    key = f"{KEY_PREFIX}{secrets.token_urlsafe(_KEY_BYTES)}"
    _show(name, key, scopes, as_json=as_json, new=True)


@command.command(name="hash")
@click.argument("name")
@json_option
def hash_key(*, name: str, as_json: bool) -> None:
    """Read a key of your own from stdin, and print the entry for gateway.keys that holds its hash."""
    key = sys.stdin.readline().strip()
    if len(key) < _SHORTEST or not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"The key must be printable ASCII, {_SHORTEST} characters or more: a short one can be guessed from its "
            'hash. Make one with "mixllm keys create".'
        )
    _show(name, key, ("chat", "feedback"), as_json=as_json, new=False)


@command.command(name="list")
@config_option
@json_option
def list_keys(*, config_path: Path, as_json: bool) -> None:
    """List the keys of a configuration: their names, what they open, and what bounds them."""
    rows = _rows(read_config(config_path))
    if as_json:
        print_json({"keys": rows})
        return
    from mixllm.cli.tables import cell, console, plain_table

    table = plain_table("key", "name", "scopes", "LLMs", "requests/min", "expires", right=("requests/min",))
    for row in rows:
        table.add_row(*(cell(_shown(value)) for value in row.values()))
    console().print(table)


def _show(name: str, key: str, scopes: tuple[str, ...], *, as_json: bool, new: bool) -> None:
    digest = hash_of(key).hex()
    entry = {"name": name, "hash": f"sha256:{digest}", "scopes": list(scopes)}
    KeyConfig(name=name, hash=str(entry["hash"]))  # Refuses a name that the file would be refused for.
    key_id = f"key-{digest[:12]}"
    if as_json:
        print_json({**({"key": key} if new else {}), "key_id": key_id, "entry": entry})
        return
    if new:
        print_line(f"Key, shown this once: {key}")
    print_line("Entry for the configuration:")
    print_line("")
    print_line("gateway:")
    print_line("  keys:")
    print_line(f"    - name: {name}")
    click.echo(f"      hash: sha256:{digest}")
    print_line(f"      scopes: [{', '.join(scopes)}]")
    print_line("")
    print_line(f"Decisions and budgets (budget.keys) know it as {key_id}.")


def _rows(config: Config) -> list[dict[str, object]]:
    from mixllm.gateway.keys import key_ring

    return [
        {
            "key_id": key.key_id,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "allowed_llms": None if key.allowed_llms is None else sorted(key.allowed_llms),
            "requests_per_minute": None if key.rate is None else key.rate.limit,
            "expires": None if key.expires is None else key.expires.isoformat(),
        }
        for key in key_ring(config.gateway, os.environ).keys
    ]


def _shown(value: object) -> str:
    if value is None:
        return "any"
    return ", ".join(value) if isinstance(value, list) else str(value)
