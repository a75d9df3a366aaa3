"""The gateway: an OpenAI-compatible HTTP server that routes, records and learns.

``mixllm.gateway.serve`` runs it; ``mixllm.gateway.create_app`` gives the ASGI application alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixllm.errors import MissingExtraError

if TYPE_CHECKING:
    from mixllm.gateway.app import create_app
    from mixllm.gateway.serve import serve

__all__ = ["create_app", "serve"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'mixllm.gateway' has no attribute {name!r}")
    try:
        if name == "serve":
            from mixllm.gateway.serve import serve

            return serve
        from mixllm.gateway.app import create_app
    except ModuleNotFoundError as error:
        raise MissingExtraError("The gateway", "gateway") from error
    return create_app
