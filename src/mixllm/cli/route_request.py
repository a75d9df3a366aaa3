"""A query to explain: its messages and constraints, for a router in this process or for a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mixllm.cli.options import read_file
from mixllm.encoders import query_from_messages
from mixllm.errors import ConfigError
from mixllm.types import Capability, Query, Value

__all__ = ["RouteRequest", "read_messages"]

_AUTO = "mixllm/auto"
_ANY_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
_ANY_TOOL = {"type": "function", "function": {"name": "any", "parameters": {"type": "object"}}}


class RouteRequest(Value, frozen=True, kw_only=True):
    """What is asked, and under which constraints; None leaves what is configured.

    Parameters
    ----------
    messages
        The conversation, in OpenAI's form.
    trade_off, max_cost_usd, min_quality, max_latency_s, max_tokens_out
        As in `mixllm.types.Query`.
    allow
        The only LLMs that may be chosen; empty: all.
    needs
        What the LLM must be able to do.
    """

    messages: tuple[dict[str, Any], ...]
    trade_off: float | None = None
    max_cost_usd: float | None = None
    min_quality: float | None = None
    max_latency_s: float | None = None
    max_tokens_out: int | None = None
    allow: tuple[str, ...] = ()
    needs: frozenset[Capability] = frozenset()

    def query(self) -> Query:
        """Return it as the router takes it; raises `InvalidValueError`."""
        return query_from_messages(
            self.messages,
            needs=self.needs,
            max_tokens_out=self.max_tokens_out,
            allowed_llms=frozenset(self.allow) if self.allow else None,
            max_cost_usd=self.max_cost_usd,
            min_quality=self.min_quality,
            max_latency_s=self.max_latency_s,
            trade_off=self.trade_off,
        )

    def body(self) -> dict[str, object]:
        """Return it as ``POST /v1/route`` takes it.

        A gateway sees what is needed from the request itself. So that it sees a need, the body has a tool, an answer
        format or an image that stands for any; nothing is called, so none of them reaches an LLM.
        """
        wishes = {
            "lambda": self.trade_off,
            "max_cost_usd": self.max_cost_usd,
            "min_quality": self.min_quality,
            "max_latency_s": self.max_latency_s,
            "allowed_llms": self.allow or None,
        }
        body: dict[str, object] = {
            "model": _AUTO,
            "messages": list(self.messages),
            "mixllm": {name: value for name, value in wishes.items() if value is not None},
        }
        if self.max_tokens_out is not None:
            body["max_tokens"] = self.max_tokens_out
        if Capability.TOOLS in self.needs:
            body["tools"] = [_ANY_TOOL]
        if Capability.JSON in self.needs:
            body["response_format"] = {"type": "json_object"}
        if Capability.AUDIO in self.needs:
            body["modalities"] = ["text", "audio"]
        if Capability.VISION in self.needs:
            body["messages"] = [*self.messages, {"role": "user", "content": [_ANY_IMAGE]}]
        return body


def read_messages(path: Path) -> tuple[dict[str, Any], ...]:
    """Read a conversation from JSON: a list of messages, or a request with ``messages``; raises `ConfigError`."""
    text = read_file(path)
    try:
        tree = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON ({error}). Write the messages as a JSON list.") from error
    messages = tree.get("messages") if isinstance(tree, dict) else tree
    if not (isinstance(messages, list) and messages and all(isinstance(message, dict) for message in messages)):
        raise ConfigError(
            f'{path}: holds no messages. Write them as [{{"role": "user", "content": "…"}}], or a request with them '
            'under "messages".'
        )
    return tuple(messages)
