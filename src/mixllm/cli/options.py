"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mixllm.cli.masking import masked_url
from mixllm.config import Config, load_config
from mixllm.errors import ConfigError
from mixllm.types import Secret

__all__ = ["DEFAULT_URL", "config_option", "gateway_options", "json_option", "read_config", "read_file"]

_F = TypeVar("_F", bound=Callable[..., Any])

DEFAULT_URL = "http://127.0.0.1:8080"


class _SecretType(click.ParamType):
    """A string that is wrapped at once, so that nothing shows it."""

    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Secret:
        del param, ctx
        return value if isinstance(value, Secret) else Secret(str(value))


class _UrlType(click.ParamType):
    """An http or https URL; one that is none is wrong usage."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        url = str(value)
        if not url.startswith(("http://", "https://")):
            self.fail(f"{masked_url(url)!r} must begin with http:// or https://, as {DEFAULT_URL} does.", param, ctx)
        return url


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


def gateway_options(command: _F) -> _F:
    """Give `command` the options ``--url`` and ``--api-key`` of a running gateway."""
    with_key = click.option(
        "--api-key",
        type=_SecretType(),
        envvar="MIXLLM_API_KEY",
        show_envvar=True,
        help="A key of its gateway.api_keys. Prefer the variable: other users can see arguments.",
    )(command)
    return click.option(
        "--url",
        type=_UrlType(),
        default=DEFAULT_URL,
        envvar="MIXLLM_URL",
        show_default=True,
        show_envvar=True,
        help="The running gateway.",
    )(with_key)


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
        data = click.get_binary_stream("stdin").read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
