"""A bare pass-through of the gateway's own stack: uvicorn, Starlette, aiohttp; no routing, nothing recorded.

``python -m benchmarks.serving.bare PORT UPSTREAM_PORT``. What it manages is the most that the stack can do.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


def _app(upstream: str) -> Starlette:
    session: aiohttp.ClientSession | None = None

    async def passed_on(request: Request) -> Response:
        nonlocal session
        if session is None:
            session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        body = await request.body()
        answer = await session.post(upstream, data=body, headers={"Content-Type": "application/json"})
        if answer.content_type == "text/event-stream":
            return StreamingResponse(_chunks(answer), media_type="text/event-stream")
        content = await answer.read()
        return Response(content, media_type="application/json")

    return Starlette(routes=[Route("/v1/chat/completions", passed_on, methods=["POST"])])


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for chunk in answer.content.iter_any():
        yield chunk


if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    uvicorn.run(
        _app(f"http://127.0.0.1:{sys.argv[2]}/v1/chat/completions"),
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
    )
