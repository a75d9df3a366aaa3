"""The gateway: an OpenAI-compatible HTTP server that routes, records and learns.

`create_app` gives the ASGI application; `mixllm.gateway.serve.serve` runs it as a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixllm.errors import MissingExtraError

if TYPE_CHECKING:
    from mixllm.gateway.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'mixllm.gateway' has no attribute {name!r}")
    try:
        from mixllm.gateway.app import create_app
    except ModuleNotFoundError as error:
        raise MissingExtraError("The gateway", "gateway") from error
    return create_app
