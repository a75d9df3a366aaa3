"""Calls to LLM endpoints: the HTTP client of the request path, one for other protocols, and a scripted double.

`OpenAIClient` is loaded when it is first asked for, so that this room can be imported without aiohttp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixllm.clients.by_provider import ClientByProvider
from mixllm.clients.litellm_client import LiteLLMClient
from mixllm.clients.retry_after import retry_after_s
from mixllm.clients.scripted import ScriptedCall, ScriptedClient, ScriptedReply, ScriptedStream, ScriptStep
from mixllm.clients.sse import DONE, SSEParser

if TYPE_CHECKING:
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


def __getattr__(name: str) -> object:
    if name == "OpenAIClient":
        from mixllm.clients.openai_http import OpenAIClient

        return OpenAIClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
