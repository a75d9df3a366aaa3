"""An endpoint on the loopback device that tags as an LLM would: by words, now and then badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

__all__ = ["DOMAINS", "LLMServer", "Mishap", "llm_server", "planted_queries"]

DOMAINS: dict[str, dict[str, str]] = {
    "math": {
        "algebra": "Algebra",
        "equation": "Equation Solving",
        "fraction": "fractions",
        "integral": "calculus",
        "total": "Arithmetic",
    },
    "code": {
        "python": "Python programming",
        "bug": "debugging",
        "function": "Code Generation",
        "sql": "databases",
        "compile": "compiler errors",
    },
    "medicine": {
        "patient": "patient care",
        "drug": "Medication",
        "symptom": "Diagnosis",
        "surgery": "surgical procedures",
        "vaccine": "Vaccination",
    },
    "law": {
        "contract": "contract law",
        "court": "litigation",
        "tenant": "tenancy rights",
        "patent": "intellectual property",
        "will": "inheritance",
    },
}
"""Words of planted domains, and the tag that each word of a query brings."""

_TAG_OF = {word: tag for words in DOMAINS.values() for word, tag in words.items()}

Mishap = str | int
"""``truncated``, ``prose``, ``count``, ``quotes``, ``empty``, ``null``, ``html``, ``hang``, ``drop``, or a status."""


def planted_queries(count: int, *, seed: int = 0) -> tuple[list[str], list[str], list[str]]:
    """Return ids, queries with two or three words of one domain each, and the domains."""
    rng = np.random.default_rng(seed)
    names = list(DOMAINS)
    domains = [names[row % len(names)] for row in range(count)]
    queries = []
    for domain in domains:
        words = rng.choice(list(DOMAINS[domain]), size=int(rng.integers(2, 4)), replace=False)
        queries.append("Please help me with " + " and ".join(words.tolist()))
    return [f"q{row}" for row in range(count)], queries, domains


def tags_of(query: str) -> list[str]:
    words = query.lower().split()
    return [tag for word, tag in _TAG_OF.items() if word in words]


@dataclass(slots=True)
class LLMServer:
    """What it was asked, and what goes wrong next.

    Parameters
    ----------
    mishaps
        One for each of the next requests; None is none. Afterwards all is well.
    usage
        Tokens that it says to have counted for each call; None leaves them out.
    """

    mishaps: list[Mishap | None] = field(default_factory=list)
    usage: tuple[int, int] | None = (100, 50)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    retry_after: str | None = None
    refuses: Callable[[str], bool] = lambda _query: False
    """Queries that bring status 400 upon their whole batch."""
    base_url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    at_once: int = 0

    @property
    def batches(self) -> list[list[str]]:
        """The queries of each request."""
        return [[item["query"] for item in json.loads(body["messages"][1]["content"])] for body in self.bodies]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    llm: LLMServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""

    def do_POST(self) -> None:
        llm = self.llm
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with llm.lock:
            llm.bodies.append(body)
            llm.headers.append(dict(self.headers))
            mishap = llm.mishaps.pop(0) if llm.mishaps else None
            llm.at_once += 1
            llm.most_at_once = max(llm.most_at_once, llm.at_once)
        try:
            self._answer(body, mishap)
        except OSError:
            self.close_connection = True
        finally:
            with llm.lock:
                llm.at_once -= 1

    def _answer(self, body: dict[str, Any], mishap: Mishap | None) -> None:
        items = json.loads(body["messages"][1]["content"])
        if mishap == "hang":
            self.llm.closing.wait()
        if mishap in ("hang", "drop"):
            self.close_connection = True
        elif isinstance(mishap, int):
            self._send(mishap, b'{"error": {"message": "no"}}')
        elif any(self.llm.refuses(item["query"]) for item in items):
            self._send(400, b'{"error": {"message": "filtered"}}')
        elif mishap == "html":
            self._send(200, b"<html>Bad gateway</html>")
        else:
            self._send(200, self._completion(_text(items, mishap)))

    def _completion(self, text: str | None) -> bytes:
        completion: dict[str, Any] = {"choices": [{"message": {"role": "assistant", "content": text}}]}
        if self.llm.usage is not None:
            completion["usage"] = dict(zip(("prompt_tokens", "completion_tokens"), self.llm.usage, strict=True))
        return json.dumps(completion).encode()

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.llm.retry_after is not None and status != 200:
            self.send_header("Retry-After", self.llm.retry_after)
        self.end_headers()
        self.wfile.write(body)


def _text(items: list[dict[str, Any]], mishap: Mishap | None) -> str | None:
    results = [
        {"id": item["id"], "tags": [{"tag": tag, "explanation": f"it is {tag}"} for tag in tags_of(item["query"])]}
        for item in items
    ]
    whole = json.dumps({"results": results})
    if mishap == "truncated":
        return whole[: int(len(whole) * 0.6)]
    if mishap == "count":
        return json.dumps([[{"tag": "lost"}] for _ in range(len(items) + 1)])
    texts = {"prose": "I cannot help with that.", "empty": "", "null": None, "quotes": str({"results": results})}
    return texts[mishap] if isinstance(mishap, str) else f"```json\n{whole}\n```"


@contextmanager
def llm_server(*mishaps: Mishap | None, usage: tuple[int, int] | None = (100, 50)) -> Iterator[LLMServer]:
    """Run an endpoint in a thread of its own."""
    llm = LLMServer(mishaps=list(mishaps), usage=usage)
    handler = type("_Bound", (_Handler,), {"llm": llm})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    llm.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield llm
    finally:
        llm.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
