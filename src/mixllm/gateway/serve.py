"""Running the gateway: configuration in, a listening server out."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import socket
from collections.abc import Callable, Mapping

import uvicorn

from mixllm.assembly import Router
from mixllm.clients import OpenAIClient
from mixllm.config import Config
from mixllm.errors import ConfigError
from mixllm.gateway.app import create_app
from mixllm.types import Secret

__all__ = ["check_exposure", "resolve_keys", "serve"]

_ENV_REFERENCE = "os.environ/"
_GRACE_S = 30
_GC_THRESHOLD = 20_000


def serve(
    config: Config,
    *,
    environ: Mapping[str, str] | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Run the gateway until it is told to stop (SIGINT, SIGTERM); open streams are finished first.

    Parameters
    ----------
    config
        The configuration.
    environ
        Where keys given as ``os.environ/NAME`` are looked up; None takes the process's environment.
    on_ready
        Called with the base URL when the server listens.

    Raises
    ------
    ConfigError
        Where the address is not loopback and no key is configured, or the address is taken.
    """
    environ = os.environ if environ is None else environ
    keys = resolve_keys(config.gateway.api_keys, environ)
    check_exposure(config.gateway.host, keys)
    listener = _listen(config.gateway.host, config.gateway.port)
    try:
        asyncio.run(_serve(config, keys, environ, listener, on_ready))
    finally:
        listener.close()


def resolve_keys(keys: tuple[Secret, ...], environ: Mapping[str, str]) -> list[Secret]:
    """Return the keys themselves, those given as ``os.environ/NAME`` looked up.

    Raises
    ------
    ConfigError
        Where a variable is not set, or a key is empty.
    """
    resolved = []
    for key in keys:
        text = key.reveal()
        if text.startswith(_ENV_REFERENCE):
            name = text.removeprefix(_ENV_REFERENCE)
            if not environ.get(name):
                raise ConfigError(f"gateway.api_keys: variable {name} is not set. Set it, or remove the entry.")
            text = environ[name]
        if not text:
            raise ConfigError("gateway.api_keys: a key is empty. Remove the entry, or give it a value.")
        resolved.append(Secret(text))
    return resolved


def check_exposure(host: str, keys: list[Secret]) -> None:
    """Raise `ConfigError` where the gateway would listen beyond loopback without a key."""
    if keys:
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise ConfigError(
            f"gateway.host: {host!r} is reachable from other machines, and no key is configured. Set gateway.api_keys, "
            "or listen on 127.0.0.1."
        )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"gateway: cannot listen on {host}:{port} ({error.strerror}). Choose another gateway.port, or stop what "
            "uses it."
        ) from error


async def _serve(
    config: Config,
    keys: list[Secret],
    environ: Mapping[str, str],
    listener: socket.socket,
    on_ready: Callable[[str], None] | None,
) -> None:
    router = Router.from_config(config)
    client = OpenAIClient(environ=environ, secrets=config.secrets(), connect_timeout_s=config.gateway.connect_timeout_s)
    try:
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(router=router, client=client, config=config.gateway, keys=keys),
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        _calm_garbage_collector()
        if on_ready is not None:
            host, port = listener.getsockname()[:2]
            on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        await server.serve(sockets=[listener])
    finally:
        await client.close()
        router.close()


def _calm_garbage_collector() -> None:
    # What is loaded at start-up stays; scanning it again and again is what makes the slowest requests slow.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 50)
