"""Running the gateway: configuration in, a listening server out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import uvicorn

from mixllm.assembly import Router
from mixllm.clients import ClientByProvider, LiteLLMClient, OpenAIClient
from mixllm.config import Config
from mixllm.errors import ConfigError
from mixllm.gateway.access import is_loopback
from mixllm.gateway.app import create_app
from mixllm.gateway.judge import Judge
from mixllm.gateway.llm_keys import LLMKeyRules
from mixllm.interfaces import LLMClient
from mixllm.types import Secret

__all__ = ["check_exposure", "resolve_keys", "serve"]

_ENV_REFERENCE = "os.environ/"
_GC_THRESHOLD = 20_000


def serve(
    config: Config,
    *,
    environ: Mapping[str, str] | None = None,
    on_ready: Callable[[str], None] | None = None,
    grace_s: int = 30,
) -> None:
    """Run the gateway until it is told to stop (SIGINT, SIGTERM); open streams are finished first.

    Parameters
    ----------
    config
        The configuration.
    environ
        Where keys given as ``os.environ/NAME`` are looked up; None takes the process's environment.
    on_ready
        Called with the base URL when requests are accepted.
    grace_s
        How long open requests may go on after the signal; those that do are cancelled then.

    Raises
    ------
    ConfigError
        Where the address is not loopback and no key is configured, the address is taken, or the judge has no price.
    """
    environ = os.environ if environ is None else environ
    keys = resolve_keys(config.gateway.api_keys, environ)
    check_exposure(config.gateway.host, keys)
    with (
        _listen(config.gateway.host, config.gateway.port) as listener,
        Router.from_config(config, environ=environ) as router,
    ):
        client = _client(config, environ, config.secrets())
        # A client of its own: no literal key of the pool is known to it, whatever an LLM of the pool is called.
        judge_client = _client(config, environ, {})
        app = create_app(
            router=router,
            client=client,
            config=config.gateway,
            keys=keys,
            llm_keys=LLMKeyRules.from_config(config),
            signals=config.signals,
            judge=_judge(config, router, judge_client),
            conversations=config.routing.conversations,
        )
        server = _Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=grace_s,
            ),
            on_ready=None if on_ready is None else lambda: on_ready(_url(listener)),
        )
        _calm_garbage_collector()
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_run(server, (client, judge_client), listener))


def resolve_keys(keys: tuple[Secret, ...], environ: Mapping[str, str]) -> list[Secret]:
    """Return the keys themselves, those given as ``os.environ/NAME`` looked up.

    Raises
    ------
    ConfigError
        Where a variable is not set, or a key is empty or cannot be sent in a header.
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
        if not (text.isascii() and text.isprintable()) or text.strip() != text:
            raise ConfigError("gateway.api_keys: a key holds characters that no header can carry. Correct it.")
        resolved.append(Secret(text))
    return resolved


def check_exposure(host: str, keys: list[Secret]) -> None:
    """Raise `ConfigError` where the gateway would listen beyond loopback without a key."""
    if keys:
        return
    if not is_loopback(host):
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


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _client(config: Config, environ: Mapping[str, str], secrets: Mapping[str, Secret]) -> ClientByProvider:
    return ClientByProvider(
        openai=OpenAIClient(environ=environ, secrets=secrets, connect_timeout_s=config.gateway.connect_timeout_s),
        others=LiteLLMClient(environ=environ, secrets=secrets),
    )


def _judge(config: Config, router: Router, client: LLMClient) -> Judge | None:
    if config.judge is None:
        return None
    return Judge(router=router, client=client, config=config.judge, rng=np.random.default_rng())


async def _run(server: uvicorn.Server, clients: Sequence[LLMClient], listener: socket.socket) -> None:
    try:
        await server.serve(sockets=[listener])
    finally:
        for client in clients:
            await client.close()


class _Server(uvicorn.Server):
    """uvicorn's, that says when it is ready and returns when it was told to stop."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_ready is not None:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            # uvicorn would raise the signal once more, which ends the process before what was learned is kept.
            self._captured_signals.clear()


def _calm_garbage_collector() -> None:
    # What is loaded at start-up stays; scanning it again and again is what makes the slowest requests slow.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 50)
