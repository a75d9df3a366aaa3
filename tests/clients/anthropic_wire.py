"""Anthropic's answers as bytes, for a server on the loopback device."""

from __future__ import annotations

import json
from typing import Any

from tests.clients.wire import http_answer, sse_answer

__all__ = ["message", "refusal", "stream"]

_MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-test",
    "stop_sequence": None,
}


def message(text: str = "hi", *, tool: dict[str, Any] | None = None) -> bytes:
    """Return a whole answer, that calls a tool where `tool` gives its input."""
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if tool is not None:
        content.append({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": tool})
    usage = {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0}
    stop_reason = "end_turn" if tool is None else "tool_use"
    return http_answer(
        json.dumps({**_MESSAGE, "content": content, "stop_reason": stop_reason, "usage": usage}).encode()
    )


def refusal(status: int, kind: str, *, headers: tuple[str, ...] = ()) -> bytes:
    """Return an error."""
    body = json.dumps({"type": "error", "error": {"type": kind, "message": "slow down"}}).encode()
    return http_answer(body, status=status, headers=["Content-Type: application/json", *headers])


def stream(*pieces: str, whole: bool = True) -> bytes:
    """Return a stream of these pieces of text; without `whole` it is cut off after them."""
    usage = {"input_tokens": 5, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**_MESSAGE, "content": [], "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    events += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces
    ]
    if whole:
        events += [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
            {"type": "message_stop"},
        ]
    text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return sse_answer(text.encode(), whole=True)
