"""The playback server on a port: in a thread for tests and demonstrations, in the foreground for a command line."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from mixllm.errors import InvalidValueError, MissingExtraError
from mixllm.interfaces import Clock
from mixllm.playback.answers import AnswerBook
from mixllm.playback.chat import ChatEndpoint
from mixllm.playback.connection import TRANSPORT_EXTENSION
from mixllm.playback.faults import Fault
from mixllm.playback.requests import KeptRequest
from mixllm.playback.server import playback_app
from mixllm.types import LLMSpec

try:
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError as error:  # pragma: no cover - covered in a process of its own
    raise MissingExtraError("The playback server", "gateway") from error

__all__ = ["PlaybackServer", "serve"]

_CONTEXT_WINDOW_TOKENS = 128_000
_BACKLOG = 2048
_TICK_S = 0.02


class PlaybackServer:
    """A playback server on a port of its own, in a thread of its own, while the context is open.

    Parameters
    ----------
    book
        The answers.
    host, port
        Where it listens; port 0 takes a free one.
    faults, time_scale, chunk_tokens, seed, keep_requests, capacity, clock
        As of `playback_app`.

    Examples
    --------
    >>> from mixllm.playback import synthetic_log
    >>> with PlaybackServer(AnswerBook(log=synthetic_log(queries=8)), time_scale=0) as server:
    ...     [spec.name for spec in server.llm_specs()][:2]
    ['atlas-large', 'boreal-pro']
    """

    def __init__(
        self,
        book: AnswerBook,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Mapping[str, Sequence[Fault]] | None = None,
        time_scale: float = 1.0,
        chunk_tokens: int = 8,
        seed: int = 0,
        keep_requests: int = 0,
        capacity: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        _check_port(port)
        self.book = book
        self.host = host
        self.port = port
        self._app = playback_app(
            book,
            faults=faults,
            time_scale=time_scale,
            chunk_tokens=chunk_tokens,
            seed=seed,
            keep_requests=keep_requests,
            capacity=capacity,
            clock=clock,
        )
        self._chat: ChatEndpoint = self._app.state.chat
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start; return when requests are accepted."""
        listener = _listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        server = self._server = _Server(_config(self._app))
        self._thread = threading.Thread(target=_run, args=(server, listener), name=f"playback-{self.port}", daemon=True)
        self._thread.start()
        server.ready.wait()
        if not server.started:
            raise InvalidValueError("port", self.port, "usable; the server could not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cut every connection and stop."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None and thread is not None:
            server.should_exit = True
            thread.join()

    @property
    def base_url(self) -> str:
        """Base URL of the API, ``/v1`` included."""
        return f"{self.root_url}/v1"

    @property
    def root_url(self) -> str:
        """URL of the server, for ``/health`` and ``/playback``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def counts(self) -> dict[str, int]:
        """Counts of ``requests``, ``streams``, ``refused``, ``faults`` and of clients that ``left`` early."""
        return dict(self._chat.counts)

    @property
    def requests_by_llm(self) -> dict[str, int]:
        """Requests of each LLM."""
        return dict(self._chat.by_llm)

    def requests(self, limit: int | None = None) -> list[KeptRequest]:
        """Return the kept requests, newest first, `limit` at most."""
        return self._chat.ring.newest(limit)

    def put_faults(self, llm: str, *faults: Fault) -> None:
        """Replace the faults of `llm`; without any it is healthy. Raises `UnknownLLMError`."""
        self._chat.faults.put(llm, faults)

    def llm_specs(
        self, *, context_window: int | None = _CONTEXT_WINDOW_TOKENS, timeout_s: float = 120.0
    ) -> tuple[LLMSpec, ...]:
        """Return the spec of each LLM: this server as its endpoint, its price fitted to the log.

        Parameters
        ----------
        context_window
            Context window of all of them, in tokens.
        timeout_s
            Time limit of a call.
        """
        return tuple(
            LLMSpec(
                name=llm,
                api_base=self.base_url,
                price=self.book.price(llm),
                context_window=context_window,
                timeout_s=timeout_s,
            )
            for llm in self.book.llms
        )


def serve(
    book: AnswerBook,
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    faults: Mapping[str, Sequence[Fault]] | None = None,
    time_scale: float = 1.0,
    chunk_tokens: int = 8,
    seed: int = 0,
    keep_requests: int = 0,
    capacity: int | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve in the foreground until interrupted (SIGINT or SIGTERM).

    Parameters
    ----------
    book
        The answers.
    host, port
        Where to listen; port 0 takes a free one.
    faults, time_scale, chunk_tokens, seed, keep_requests, capacity
        As of `playback_app`.
    on_ready
        Called with the base URL, ``/v1`` included, as soon as requests are accepted.

    Raises
    ------
    InvalidValueError
        Where a parameter is out of range, or the address cannot be listened on.
    """
    _check_port(port)
    app = playback_app(
        book,
        faults=faults,
        time_scale=time_scale,
        chunk_tokens=chunk_tokens,
        seed=seed,
        keep_requests=keep_requests,
        capacity=capacity,
    )
    listener = _listen(host, port)
    shown_host = f"[{host}]" if ":" in host else host
    base_url = f"http://{shown_host}:{listener.getsockname()[1]}/v1"
    server = _Server(_config(app), on_ready=None if on_ready is None else lambda: on_ready(base_url))
    # uvicorn raises the signal again once it has shut down.
    with contextlib.suppress(KeyboardInterrupt):
        _run(server, listener)


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with the transport in the scope, so that a fault can cut the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT_EXTENSION: {"transport": self.transport}}


class _Server(uvicorn.Server):
    """uvicorn's, that says when it is ready and does not wait for hanging answers when it stops."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
        if self._on_ready is not None:
            self._on_ready()

    async def main_loop(self) -> None:
        # As uvicorn's, which looks five times less often whether it is over: tests start and stop many servers.
        tick = 0
        while not await self.on_tick(tick):
            tick += 1
            await asyncio.sleep(_TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        # The lost connections have to be noticed first: uvicorn logs an error for an answer that ends without one.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type] # Starlette's own types and uvicorn's differ
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=75,
    )


def _run(server: _Server, listener: socket.socket) -> None:
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listener]))
    finally:
        server.ready.set()  # also where it never was, so that nobody waits for it


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # it does not exist for Windows
        return None
    return uvloop.new_event_loop


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise InvalidValueError("port", f"{host}:{port}", f"free to listen on ({error.strerror or error})") from error
    listener.set_inheritable(False)
    return listener


def _check_port(port: int) -> None:
    if not 0 <= port <= 65_535:
        raise InvalidValueError("port", port, "between 0 and 65535")
