"""A real ``/v1/embeddings`` server on the loopback device, with whatever answers a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

from mixllm.encoders import HashingEncoder

__all__ = ["Asked", "EmbeddingServer", "embeddings_of", "open_server"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Answer: TypeAlias = Callable[[Asked], tuple[int, bytes]]


@dataclass(slots=True)
class EmbeddingServer:
    """Where it listens, and what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    """Set at the end, for answers that wait."""


def embeddings_of(asked: Asked, *, dimension: int = 16, scale: float = 3.0) -> tuple[int, bytes]:
    """Answer as an endpoint does: a vector a text, of any length, here in reversed order."""
    encoder = HashingEncoder(dimension=dimension, seed=3)
    data = []
    for index, text in enumerate(asked.body["input"]):
        vector = encoder.encode(text).astype(float) * scale
        vector[0] += 0.25  # no text has the zero vector
        data.append({"object": "embedding", "index": index, "embedding": vector.tolist()})
    return 200, json.dumps({"object": "list", "data": data[::-1], "model": asked.body["model"]}).encode()


@contextmanager
def open_server(answer: Answer = embeddings_of) -> Iterator[EmbeddingServer]:
    """Run a server that gives `answer`; an answer of status 0 is sent as it is, head and all."""
    state = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, json.loads(body))
            state.asked.append(asked)
            status, content = answer(asked)
            try:
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.send_header("Location", "/elsewhere")
                    self.end_headers()
                self.wfile.write(content)
            except ConnectionError:  # the client has left
                self.close_connection = True
            if not status:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        state.left.set()
        server.shutdown()
        thread.join()
        server.server_close()
