"""Running the gateway: configuration in, a listening server out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import uvicorn
from starlette.routing import BaseRoute

from mixllm.assembly import Router
from mixllm.clients import ClientByProvider, LiteLLMClient, OpenAIClient
from mixllm.config import Config
from mixllm.errors import ConfigError
from mixllm.gateway.access import check_exposure
from mixllm.gateway.app import create_app
from mixllm.gateway.bounded_http import BoundedProtocol
from mixllm.gateway.judge import Judge
from mixllm.gateway.keys import key_ring
from mixllm.gateway.llm_keys import LLMKeyRules
from mixllm.gateway.reload import Reloader
from mixllm.gateway.tracing import TracedClient, Tracing
from mixllm.interfaces import LLMClient
from mixllm.learning.apart import FollowingWorker
from mixllm.registry import SharedRates, SharedTraffic, can_share
from mixllm.router import RouterCore
from mixllm.types import Secret

__all__ = ["listen", "serve", "url_of"]

_GC_THRESHOLD = 20_000


def serve(
    config: Config,
    *,
    environ: Mapping[str, str] | None = None,
    on_ready: Callable[[str], None] | None = None,
    grace_s: int = 30,
    listener: socket.socket | None = None,
    read_again: Callable[[], Config] | None = None,
    learner: Path | None = None,
    windows: Callable[[RouterCore], Sequence[BaseRoute]] | None = None,
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
    listener
        Where connections are accepted, as a worker gets it from its parent; None listens where `config` says.
    read_again
        Reads the configuration again, on SIGHUP and ``POST /v1/reload``; None: it cannot be.
    learner
        The socket of the process that learns; None: this one does.
    windows
        Makes further routes that show the router, such as the dashboard's; None: there are none.

    Raises
    ------
    ConfigError
        Where the address is not loopback and no key is configured, the address is taken, or the judge has no price.
    """
    environ = os.environ if environ is None else environ
    check_exposure(config.gateway.host, key_ring(config.gateway, environ))
    with (
        listener or listen(config.gateway.host, config.gateway.port) as listening,
        Router.from_config(config, environ=environ) as router,
        _sharing(config, router),
        _sharing_rates(config) as rates,
    ):
        if learner is not None:
            router.worker = FollowingWorker(worker=router.worker, path=learner)
        ring = key_ring(config.gateway, environ, rates=rates)
        tracing = None if config.telemetry.otlp_endpoint is None else Tracing(config.telemetry)
        client = _client(config, environ, config.secrets(), tracing)
        # A client of its own: no literal key of the pool is known to it, whatever an LLM of the pool is called.
        judge_client = _client(config, environ, {})
        reloader = None
        if read_again is not None:
            reloader = Reloader(
                read=read_again, config=config, environ=environ, router=router, client=client, rates=rates
            )
        app = create_app(
            router=router,
            client=client if tracing is None else TracedClient(client, tracing),
            config=config.gateway,
            ring=ring,
            llm_keys=LLMKeyRules.from_config(config),
            signals=config.signals,
            judge=_judge(config, router, judge_client),
            conversations=config.routing.conversations,
            calls=config.calls,
            reloader=reloader,
            tracing=tracing,
            windows=() if windows is None else windows(router),
        )
        server = _Server(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                log_config=None,  # as everything else logs
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=grace_s,
            ),
            on_ready=None if on_ready is None else lambda: on_ready(url_of(listening)),
        )
        _calm_garbage_collector()
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_run(server, (client, judge_client), listening, reloader))
        if tracing is not None:
            tracing.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that has its address; raises `ConfigError` where that cannot be had.

    Connections are refused until a server begins to accept them: whoever spreads requests then asks another gateway,
    where they would otherwise wait for this one to have started.
    """
    listener = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":  # Elsewhere it would share an address that is taken.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
    except OSError as error:
        if listener is not None:
            listener.close()
        raise _taken(host, port, error) from error
    else:
        return listener


def _taken(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"gateway: cannot listen on {host}:{port} ({error.strerror}). Choose another gateway.port, or stop what uses "
        "it."
    )


def url_of(listener: socket.socket) -> str:
    """Return the base URL that leads to `listener`."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _client(
    config: Config, environ: Mapping[str, str], secrets: Mapping[str, Secret], tracing: Tracing | None = None
) -> ClientByProvider:
    return ClientByProvider(
        openai=OpenAIClient(
            environ=environ,
            secrets=secrets,
            connect_timeout_s=config.gateway.connect_timeout_s,
            extra_headers=None if tracing is None else tracing.outgoing_headers,
        ),
        others=LiteLLMClient(environ=environ, secrets=secrets),
    )


@contextlib.contextmanager
def _sharing(config: Config, router: Router) -> Iterator[None]:
    """See what other gateways on the same store file do, and have them see this one, while the context is open."""
    if config.store.kind != "sqlite" or not config.gateway.shared_traffic or not can_share():
        yield
        return
    path = Path(f"{config.store.path}-traffic")
    shared = SharedTraffic(
        path=path, counts=router.in_flight.counts, llms=lambda: [spec.name for spec in router.snapshot.specs]
    )
    router.traffic.share(shared)
    try:
        yield
    finally:
        router.traffic.share(None)
        shared.close()


@contextlib.contextmanager
def _sharing_rates(config: Config) -> Iterator[SharedRates | None]:
    """Have the rates of keys count for all gateways of this machine on the same store, while the context is open."""
    path = _rates_path(config)
    if path is None or not config.gateway.shared_traffic or not can_share():
        yield None
        return
    rates = SharedRates(path=path)
    try:
        yield rates
    finally:
        rates.close()


def _rates_path(config: Config) -> Path | None:
    """Return the file that all gateways of this machine on one store find; None where there is no such place."""
    if config.store.kind == "sqlite":
        return Path(f"{config.store.path}-rates")
    if config.store.kind == "postgres":
        folder = Path(config.store.spool)
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
        return folder / "keys-rates"
    return None


def _judge(config: Config, router: Router, client: LLMClient) -> Judge | None:
    if config.judge is None:
        return None
    return Judge(router=router, client=client, config=config.judge, rng=np.random.default_rng())


async def _run(
    server: uvicorn.Server, clients: Sequence[LLMClient], listener: socket.socket, reloader: Reloader | None
) -> None:
    try:
        if reloader is not None and hasattr(signal, "SIGHUP"):
            loop = asyncio.get_running_loop()
            # In a thread: reading, checking and keeping the change of the pool take their time.
            loop.add_signal_handler(signal.SIGHUP, loop.run_in_executor, None, reloader.reload_on_signal)
            # A parent of several workers has held it back until now.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
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
        try:
            await super().startup(sockets)
        except OSError as error:
            # Another one has begun to listen there since this one got its address.
            assert sockets is not None
            host, port = sockets[0].getsockname()[:2]
            raise _taken(host, port, error) from error
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
