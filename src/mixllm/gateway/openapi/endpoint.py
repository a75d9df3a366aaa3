"""``GET /openapi.json``: the description of the gateway."""

from __future__ import annotations

from functools import lru_cache

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixllm import __version__
from mixllm.gateway.openapi.document import describe

__all__ = ["get_openapi"]


async def get_openapi(request: Request) -> Response:
    """Return the description; it is the same for everybody, and holds nothing of this gateway's own."""
    del request
    return Response(_document(), media_type="application/json")


@lru_cache(maxsize=1)
def _document() -> bytes:
    return msgspec.json.encode(describe(__version__))
