"""MixLLM: a dynamic, contextual-bandit router for a pool of LLMs.

Importing it does no I/O and loads no server, database or plotting library; the parts load when they are first used.

Examples
--------
>>> from mixllm import LLMSpec, Price, Router
>>> free = Price(usd_per_million_tokens_in=0, usd_per_million_tokens_out=0)
>>> router = Router(llms=[LLMSpec(name="local", price=free)])
>>> router.route("Hello").llm
'local'
>>> router.close()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixllm.assembly import Router
    from mixllm.encoders import query_from_messages
    from mixllm.errors import MixLLMError
    from mixllm.store import MemoryStore, PostgresStore, SQLiteStore
    from mixllm.types import (
        Capability,
        Decision,
        Endpoint,
        Estimate,
        Feedback,
        FeedbackReceipt,
        Forecast,
        LLMSpec,
        Outcome,
        OutcomeStatus,
        Price,
        Query,
        WarmPrefix,
    )

__version__ = "0.1.0"

__all__ = [
    "Capability",
    "Decision",
    "Endpoint",
    "Estimate",
    "Feedback",
    "FeedbackReceipt",
    "Forecast",
    "LLMSpec",
    "MemoryStore",
    "MixLLMError",
    "Outcome",
    "OutcomeStatus",
    "PostgresStore",
    "Price",
    "Query",
    "Router",
    "SQLiteStore",
    "WarmPrefix",
    "query_from_messages",
]

_HOMES = {
    "Router": "mixllm.assembly",
    "query_from_messages": "mixllm.encoders",
    "MixLLMError": "mixllm.errors",
    "MemoryStore": "mixllm.store",
    "PostgresStore": "mixllm.store",
    "SQLiteStore": "mixllm.store",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'mixllm' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "mixllm.types")), name)


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))
