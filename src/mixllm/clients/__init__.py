"""Calls to LLM endpoints: the HTTP client of the request path, one for other protocols, and a scripted double.

The clients that call over HTTP are loaded when they are first asked for, so that this room can be imported without
aiohttp.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mixllm.clients.retry_after import retry_after_s
from mixllm.clients.scripted import ScriptedCall, ScriptedClient, ScriptedReply, ScriptedStream, ScriptStep
from mixllm.clients.sse import DONE, SSEParser

if TYPE_CHECKING:
    from mixllm.clients.by_provider import ClientByProvider
    from mixllm.clients.litellm_client import LiteLLMClient
    from mixllm.clients.openai_http import OpenAIClient

__all__ = [
    "DONE",
    "ClientByProvider",
    "LiteLLMClient",
    "OpenAIClient",
    "SSEParser",
    "ScriptStep",
    "ScriptedCall",
    "ScriptedClient",
    "ScriptedReply",
    "ScriptedStream",
    "retry_after_s",
]


_LAZY = {"ClientByProvider": "by_provider", "LiteLLMClient": "litellm_client", "OpenAIClient": "openai_http"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(f"mixllm.clients.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
