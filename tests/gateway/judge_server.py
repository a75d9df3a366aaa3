"""A judge on the loopback device: it answers what a test wants, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

__all__ = ["JudgeServer", "Refusal", "completion", "verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer with an error status."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


def completion(text: object, **usage: object) -> dict[str, Any]:
    """Return a chat completion that says `text`."""
    message = {"role": "assistant", "content": text}
    told = {"usage": usage} if usage else {}
    return {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": message}], **told}


def verdict(score: object) -> dict[str, Any]:
    """Return a chat completion with a verdict, of 100 tokens in and 10 out."""
    text = json.dumps({"reason": "So it is.", "score": score})
    return completion(text, prompt_tokens=100, completion_tokens=10)


class JudgeServer:
    """Answers every request with `answer`, while the context is open.

    Parameters
    ----------
    answer
        Given the decoded body of a request, what to answer: an object, raw bytes, an HTTP status or a refusal.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], object] | None = None) -> None:
        self.answer = answer or (lambda _body: verdict(0.75))
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times_s: list[float] = []
        self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        """While it is clear, answers wait."""
        self._at_once = 0
        self._lock = threading.Lock()
        judge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                judge.enter(body, self.headers.get("authorization"))
                judge.gate.wait(20)
                answer = judge.answer(body)
                judge.leave()
                refusal = Refusal(status=answer) if isinstance(answer, int) else answer
                if isinstance(refusal, Refusal):
                    status, headers, answer = refusal.status, refusal.headers, {"error": {"message": "No."}}
                else:
                    status, headers = 200, {}
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(content)))
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True  # The gateway did not wait.

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class calls it so
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def enter(self, body: dict[str, Any], key: str | None) -> None:
        """Keep a request."""
        with self._lock:
            self.bodies.append(body)
            self.keys.append(key)
            self.times_s.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def leave(self) -> None:
        """Count a request as answered."""
        with self._lock:
            self._at_once -= 1

    def exhibits(self) -> list[dict[str, Any]]:
        """Return what was to be judged, in the order in which it came."""
        return [json.loads(body["messages"][1]["content"]) for body in list(self.bodies)]

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
