"""``/health/live``, ``/health/ready`` and ``/metrics``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from mixllm.gateway.answers import json_response
from mixllm.gateway.metrics import CONTENT_TYPE
from mixllm.gateway.state import state_of

__all__ = ["live", "metrics", "ready"]


async def live(request: Request) -> Response:
    """Say that the process answers."""
    del request
    return json_response({"status": "ok"})


async def ready(request: Request) -> Response:
    """Say whether requests can be routed and whether learning keeps up; 503 with the reasons where not."""
    router = state_of(request).router
    problems = []
    if not router.llms:
        problems.append("the pool is empty: add an LLM with POST /v1/llms")
    if not router.worker.running:
        problems.append("learning is not running: see the log")
    counts = router.learner.counts
    answer = {
        "status": "unready" if problems else "ready",
        "problems": problems,
        "llms": len(router.llms),
        "learning": {
            "running": router.worker.running,
            "model_version": router.snapshot.version,
            "position": router.snapshot.position,
            "outcomes": counts.outcomes,
            "feedback": counts.feedback,
            "ignored": counts.ignored,
            "refused": counts.refused,
        },
    }
    return json_response(answer, status=503 if problems else 200)


async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(state_of(request).metrics.exposition(), media_type=CONTENT_TYPE)
