"""Text to vectors: what a chat asks, and the encoders that turn it into a unit vector.

`query_from_messages` finds the last real human ask in a chat. `StaticEncoder` is the default encoder (static token
vectors, no download), `SurfaceEncoder` adds what a text looks like to any of them, `LexicalEncoder` is what training
makes of the default one; `TransformerEncoder` runs a sentence transformer of a
local folder, `EndpointEncoder` asks a ``/v1/embeddings`` endpoint; `HashingEncoder` is the deterministic double for
tests. Encoders are loaded when they are first asked for, so that importing this room loads neither a tokenizer nor
NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mixllm.encoders.bounds import head_and_tail, well_formed
from mixllm.encoders.messages import is_tool_result, last_human_ask, query_from_messages

if TYPE_CHECKING:
    from mixllm.encoders.endpoint import EndpointEncoder
    from mixllm.encoders.hashing import HashingEncoder
    from mixllm.encoders.lexical import LexicalEncoder
    from mixllm.encoders.static import StaticEncoder
    from mixllm.encoders.surface import SurfaceEncoder
    from mixllm.encoders.transformer import TransformerEncoder

__all__ = [
    "EndpointEncoder",
    "HashingEncoder",
    "LexicalEncoder",
    "StaticEncoder",
    "SurfaceEncoder",
    "TransformerEncoder",
    "head_and_tail",
    "is_tool_result",
    "last_human_ask",
    "query_from_messages",
    "well_formed",
]

_LOADED_LATER = {
    "EndpointEncoder": "mixllm.encoders.endpoint",
    "HashingEncoder": "mixllm.encoders.hashing",
    "LexicalEncoder": "mixllm.encoders.lexical",
    "StaticEncoder": "mixllm.encoders.static",
    "SurfaceEncoder": "mixllm.encoders.surface",
    "TransformerEncoder": "mixllm.encoders.transformer",
}


def __getattr__(name: str) -> object:
    module = _LOADED_LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
