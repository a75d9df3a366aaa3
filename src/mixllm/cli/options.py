"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mixllm.cli.masking import masked_url
from mixllm.config import Config, load_config
from mixllm.errors import ConfigError
from mixllm.types import Secret

__all__ = [
    "DEFAULT_URL",
    "checked_url",
    "config_option",
    "gateway_options",
    "json_option",
    "key_option",
    "read_config",
    "read_file",
]

_F = TypeVar("_F", bound=Callable[..., Any])

DEFAULT_URL = "http://127.0.0.1:8080"


def json_option(command: _F) -> _F:
    """Give `command` the flag ``--json``, as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)


def config_option(command: _F) -> _F:
    """Give `command` the option ``-c/--config``, as ``config_path``."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        default=Path("mixllm.yaml"),
        envvar="MIXLLM_CONFIG",
        show_default=True,
        show_envvar=True,
        help="The configuration file.",
    )(command)


def key_option(command: _F) -> _F:
    """Give `command` the option ``--api-key`` of a running gateway, as the secret ``api_key``."""
    return click.option(
        "--api-key",
        callback=_secret,
        envvar="MIXLLM_API_KEY",
        show_envvar=True,
        help="A key of its gateway.api_keys. Prefer the variable: other users can see arguments.",
    )(command)


def gateway_options(command: _F) -> _F:
    """Give `command` the options ``--url`` and ``--api-key`` of a running gateway."""
    return click.option(
        "--url",
        callback=checked_url,
        default=DEFAULT_URL,
        envvar="MIXLLM_URL",
        show_default=True,
        show_envvar=True,
        help="The running gateway.",
    )(key_option(command))


def checked_url(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return `value` where it is an http or https URL; anything else is wrong usage."""
    if value is not None and not value.startswith(("http://", "https://")):
        raise click.BadParameter(
            f"{masked_url(value)!r} must begin with http:// or https://, as {DEFAULT_URL} does.", ctx, param
        )
    return value


def read_config(path: Path) -> Config:
    """Read the configuration with the environment's variables over it; raises `ConfigError`."""
    if not path.exists():
        raise ConfigError(
            f"{path}: there is no such file. Give one with --config or MIXLLM_CONFIG, or make one to try things out: "
            "mixllm playback --write-config mixllm.yaml"
        )
    return load_config(path, environ=os.environ)


def read_file(path: Path) -> str:
    """Return the text of a file that the user named, ``-`` being stdin; raises `ConfigError`."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def _secret(ctx: click.Context, param: click.Parameter, value: str | None) -> Secret | None:
    # Wrapped at once, so that nothing shows it.
    del ctx, param
    return None if value is None else Secret(value)
