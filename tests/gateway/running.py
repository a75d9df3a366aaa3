"""A gateway for tests: in a thread of this process or in a process of its own, and a plain HTTP client for it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
import uvicorn

from mixllm.assembly import Router
from mixllm.clients import OpenAIClient
from mixllm.config import Config, parse_config
from mixllm.dashboard.routes import dashboard_routes
from mixllm.gateway import create_app
from mixllm.gateway.judge import Judge
from mixllm.gateway.keys import key_ring
from mixllm.gateway.llm_keys import LLMKeyRules
from mixllm.playback import PlaybackServer
from mixllm.types import LLMSpec

__all__ = [
    "Gateway",
    "GatewayProcess",
    "Reply",
    "Url",
    "ask",
    "chat_body",
    "closed_port",
    "config_for",
    "config_tree",
    "entry",
    "eventually",
    "messages",
]

Url = str

_DEADLINE_S = 10.0


def messages(text: str) -> list[dict[str, str]]:
    """Return a chat of one question."""
    return [{"role": "user", "content": text}]


def chat_body(model: str = "mixllm/auto", text: str = "What is the capital of France?", **fields: object) -> Any:
    """Return the body of a chat request."""
    return {"model": model, "messages": messages(text), **fields}


def eventually(condition: Callable[[], bool]) -> bool:
    """Return True as soon as `condition` holds; False where it does not in time."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.005)
    return True


def closed_port() -> int:
    """Return a port that nothing listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in OpenAI's shape; fails where the body is no such error."""
        assert self.headers["content-type"] == "application/json"
        error: dict[str, Any] = self.json["error"]
        assert sorted(error) == ["code", "message", "param", "type"]
        assert isinstance(error["message"], str)
        assert error["message"]
        assert isinstance(error["type"], str)
        return error

    @property
    def inference_id(self) -> str:
        """Id of the decision."""
        return self.headers["x-mixllm-inference-id"]


def ask(
    url: Url,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 60,
) -> Reply:
    """Send one request; an iterator is sent in chunks without a length, any other body that is no bytes as JSON."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)) as connection:
        content = body if body is None or isinstance(body, bytes | Iterator) else json.dumps(body).encode()
        declared = {} if content is None else {"content-type": "application/json"}
        connection.request(method, path, content, {**declared, **(headers or {})})
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(status=answer.status, headers=names, body=answer.read())


def entry(spec: LLMSpec, **params: object) -> dict[str, Any]:
    """Return `spec` as an entry of ``model_list``."""
    assert spec.price is not None
    return {
        "model_name": spec.name,
        "litellm_params": {"model": spec.upstream_model, "api_base": spec.api_base, **params},
        "model_info": {
            "input_cost_per_token": spec.price.usd_per_million_tokens_in / 1e6,
            "output_cost_per_token": spec.price.usd_per_million_tokens_out / 1e6,
            "max_input_tokens": spec.context_window,
        },
    }


def config_tree(
    pool: PlaybackServer,
    store: Path,
    llms: Sequence[str] | None = None,
    *,
    max_commit_delay_s: float = 0.001,
    **sections: Any,
) -> dict[str, Any]:
    """Return a configuration whose pool is the playback server's."""
    specs = [spec for spec in pool.llm_specs() if llms is None or spec.name in llms]
    return {
        "model_list": [entry(spec) for spec in specs],
        "store": {"path": str(store), "max_commit_delay_s": max_commit_delay_s},
        **sections,
    }


def config_for(pool: PlaybackServer, store: Path, llms: Sequence[str] | None = None, **options: Any) -> Config:
    """Return `config_tree` as a configuration."""
    return parse_config(json.dumps(config_tree(pool, store, llms, **options)))


class Gateway:
    """A gateway in a thread of its own, over real sockets, while the context is open.

    Parameters
    ----------
    config
        Its configuration; host and port are not used.
    environ
        Where keys are looked up.
    """

    def __init__(self, config: Config, *, environ: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.environ = environ or {}
        self.url: Url = ""

    def __enter__(self) -> Self:
        self.router = Router.from_config(self.config, seed=1, environ=self.environ)
        client = OpenAIClient(environ=self.environ, secrets=self.config.secrets(), connect_timeout_s=2)
        judge_client = OpenAIClient(environ=self.environ, connect_timeout_s=2)
        self.llm_judge: Judge | None = None
        if self.config.judge is not None:
            rng = np.random.default_rng(1)
            self.llm_judge = Judge(router=self.router, client=judge_client, config=self.config.judge, rng=rng)
        ring = key_ring(self.config.gateway, self.environ)
        app = create_app(
            router=self.router,
            client=client,
            config=self.config.gateway,
            ring=ring,
            llm_keys=LLMKeyRules.from_config(self.config),
            signals=self.config.signals,
            judge=self.llm_judge,
            conversations=self.config.routing.conversations,
            calls=self.config.calls,
            windows=dashboard_routes(self.router),
        )
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2)
        )

        async def run() -> None:
            await self._server.serve(sockets=[listener])
            await client.close()
            await judge_client.close()

        self._thread = threading.Thread(target=lambda: uvicorn_run(run, self._server.config), daemon=True)
        self._thread.start()
        assert eventually(lambda: self._server.started)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.router.close()

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Send one request."""
        return ask(self.url, method, path, body, headers)

    def chat(self, model: str = "mixllm/auto", text: str = "What is the capital of France?", **fields: object) -> Reply:
        """Send one chat request."""
        return self.ask("POST", "/v1/chat/completions", chat_body(model, text, **fields))

    def judge(self, inference_id: str, *, value: object, **fields: object) -> Reply:
        """Send feedback."""
        return self.ask("POST", "/v1/feedback", {"inference_id": inference_id, "value": value, **fields})

    def feedback_of(self, inference_id: str) -> list[dict[str, Any]]:
        """Return the feedback on a decision, durable or not yet."""
        feedback: list[dict[str, Any]] = self.ask("GET", f"/v1/decisions/{inference_id}").json["feedback"]
        return feedback

    def status_of(self, llm: str) -> dict[str, Any]:
        """Return what ``/v1/llms`` says of an LLM, with everything learned that was recorded so far."""
        self.router.learn()
        status: dict[str, Any] = self.ask("GET", f"/v1/llms/{llm}").json
        return status

    def outcomes_of(self, inference_id: str) -> list[dict[str, Any]]:
        """Return the recorded outcomes of a decision."""
        outcomes: list[dict[str, Any]] = self.ask("GET", f"/v1/decisions/{inference_id}").json["outcomes"]
        return outcomes

    def in_flight(self) -> int:
        """Return how many calls are under way."""
        return sum(self.router.in_flight.counts().values())

    def learned(self) -> dict[str, bytes]:
        """Return everything learned so far, in a form that can be compared."""
        self.router.learn()
        arrays = self.router.learner.checkpoint().arrays
        # When the newest event came is no more than a date.
        return {name: np.asarray(array).tobytes() for name, array in arrays.items() if name != "newest_event_s"}

    @contextmanager
    def with_llm(self, spec: LLMSpec) -> Iterator[LLMSpec]:
        """Have one more LLM in the pool."""
        yield self.router.add_llm(spec)
        self.router.remove_llm(spec.name)


def uvicorn_run(run: Callable[[], Any], config: uvicorn.Config) -> None:
    """Run a coroutine on the loop that `config` asks for."""
    import asyncio

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())


_PROGRAM = """
import sys
from mixllm.config import load_config
from mixllm.gateway.serve import serve
serve(
    load_config(sys.argv[1]),
    on_ready=lambda url: print(url, flush=True),
    grace_s=int(sys.argv[2]),
    read_again=lambda: load_config(sys.argv[1]),
)
"""


class GatewayProcess:
    """The real `serve` in a process of its own, while the context is open.

    Parameters
    ----------
    tree
        Its configuration; the port is chosen freely.
    folder
        Where its configuration file goes.
    grace_s
        How long it waits for open requests when it is told to stop.
    """

    def __init__(self, tree: Mapping[str, Any], folder: Path, *, grace_s: int = 10) -> None:
        self.grace_s = grace_s
        self.path = folder / "gateway.yaml"
        self.configure(tree)
        self.url: Url = ""
        self.log = ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-c", _PROGRAM, str(self.path), str(self.grace_s)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise AssertionError(self._process.communicate()[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.finish()

    def configure(self, tree: Mapping[str, Any]) -> None:
        """Write the configuration file."""
        self.path.write_text(json.dumps({**tree, "gateway": {"port": 0, **tree.get("gateway", {})}}))

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Send one request."""
        return ask(self.url, method, path, body, headers)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def finish(self) -> int:
        """Wait for the end, keep the log, and return the exit status."""
        if not self._process.stdout or self._process.stdout.closed:
            return self._process.returncode
        self.log += self._process.communicate(timeout=20)[1]
        return self._process.returncode
